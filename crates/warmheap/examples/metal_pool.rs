//! A Metal pool in ten lines. Needs a Mac: `cargo run --example metal_pool`.

#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use objc2_metal::MTLBuffer;
    use warmheap::metal::{AsMetal, MetalMemoryPool};
    use warmheap::{PoolConfig, Request};

    let pool = MetalMemoryPool::new(PoolConfig::default())?;
    let cache = pool.allocate(Request::new(16 << 20).zeroed().tag("kv-cache"))?;
    let place = cache.metal().ok_or("not in Metal memory")?;
    println!("{} bytes at offset {} of one MTLBuffer", cache.size(), place.offset);
    println!("GPU address {:#x}", cache.device_address());
    let own = cache.own_mtl_buffer()?; // for code that takes no offset
    println!("its own MTLBuffer has {} bytes", own.length());
    drop((own, cache));
    println!("{:#?}", pool.statistics());
    Ok(())
}

#[cfg(not(all(feature = "metal", any(target_vendor = "apple", metal_double))))]
fn main() {
    eprintln!("this example needs Metal: run it on a Mac");
}
