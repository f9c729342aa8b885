// Warmheap for C++17: owners of what warmheap.h has, in headers alone.
//
// Pools, buffers, queues and pins give back what they own when they end. They move and do not copy. A call
// that fails throws an Error with the library's words. Destructors never throw. Any thread may use any object
// that no other thread is destroying or moving from. Every item is since 0.2.
//
// Programs include this file. The parts lie in the folder warmheap beside it.

#ifndef WARMHEAP_HPP
#define WARMHEAP_HPP

#include "warmheap.h"
#include "warmheap/buffer.hpp"
#include "warmheap/error.hpp"
#include "warmheap/log.hpp"
#include "warmheap/memory_resource.hpp"
#include "warmheap/pool.hpp"
#include "warmheap/queue.hpp"
#include "warmheap/request.hpp"
#include "warmheap/ticket.hpp"

#endif // WARMHEAP_HPP
