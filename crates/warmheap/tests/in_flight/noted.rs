//! Work that was noted on a movable buffer keeps its memory from all other uses, however the buffer ends.

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::sim::SimQueue;
use warmheap::{CompactionBudget, MovableBuffer, Pool, PoolQueue, Ticket};

use crate::ends::pools;
use crate::support::assert_all_back;

type End = fn(MovableBuffer, &Ticket);

const ENDS: [End; 4] = [
    |buffer, _| drop(buffer),
    MovableBuffer::retire,
    |buffer, _| drop(buffer.into_buffer()),
    |buffer, last| buffer.into_buffer().retire(last),
];

fn queues(pool: &Pool, count: usize) -> Vec<(Arc<SimQueue>, PoolQueue)> {
    let orders = (0..count).map(|_| Arc::new(SimQueue::new()));
    orders.map(|order| (order.clone(), pool.queue(order))).collect()
}

/// Returns a movable buffer that work of each queue uses, and the tickets of that work.
fn in_use(pool: &Pool, queues: &[(Arc<SimQueue>, PoolQueue)]) -> (MovableBuffer, Vec<Ticket>) {
    let buffer = pool.allocate_movable(MIB).unwrap();
    let tickets: Vec<_> = queues.iter().map(|(order, queue)| queue.ticket(order.submit())).collect();
    tickets.iter().for_each(|ticket| buffer.in_flight_until(ticket));
    (buffer, tickets)
}

/// Ends a movable buffer that work of so many queues uses, and lets the queues finish in this order.
fn end(pool: &Pool, end: End, order: &[usize]) {
    let queues = queues(pool, order.len());
    let (buffer, tickets) = in_use(pool, &queues);
    let address = buffer.pin().device_address();
    end(buffer, tickets.last().unwrap());
    for finished in order {
        let others: Vec<_> = (0..8).map(|_| pool.allocate(MIB).unwrap()).collect();
        assert!(others.iter().all(|other| other.device_address() != address), "reused in use: {order:?}");
        drop(others);
        assert_eq!(pool.statistics().active_allocations, 1, "given back early: {order:?}");
        assert_eq!(pool.compact(CompactionBudget::unlimited()).unwrap().moved_buffers, 0);
        queues[*finished].0.complete_all();
        queues.iter().for_each(|(_, queue)| assert!(queue.poll().is_ok()));
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.active_allocations, statistics.in_flight_mb), (0, 0.0), "kept: {order:?}");
}

#[test]
fn memory_waits_for_the_work_of_all_queues() {
    for (sim, pool) in pools() {
        for count in [1, 2, 3, 16] {
            for first in 0..count.min(3) {
                let order: Vec<_> = (0..count).map(|place| (place + first) % count).collect();
                let backwards: Vec<_> = order.iter().rev().copied().collect();
                for way in ENDS {
                    end(&pool, way, &order);
                    end(&pool, way, &backwards);
                }
            }
        }
        drop(pool);
        assert_all_back(&sim);
    }
}

#[test]
fn memory_waits_for_queues_without_handles() {
    for (sim, pool) in pools() {
        for way in ENDS {
            let queues = queues(&pool, 3);
            let (buffer, tickets) = in_use(&pool, &queues);
            way(buffer, &tickets[2]);
            let orders: Vec<_> = queues.into_iter().map(|(order, _)| order).collect();
            drop(tickets);
            for order in orders {
                assert_eq!(pool.statistics().active_allocations, 1);
                order.complete_all();
                pool.trim(0).unwrap();
            }
            assert_eq!(pool.statistics().active_allocations, 0);
        }
        drop(pool);
        assert_all_back(&sim);
    }
}

#[test]
fn noted_work_that_is_done_holds_nothing_up() {
    for (_, pool) in pools() {
        for way in ENDS {
            let queues = queues(&pool, 2);
            let (buffer, tickets) = in_use(&pool, &queues);
            queues.iter().for_each(|(order, _)| order.complete_all());
            way(buffer, &tickets[1]);
            assert_eq!(pool.statistics().active_allocations, 0);
        }
    }
}
