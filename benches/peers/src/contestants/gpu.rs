//! gpu-allocator. It manages memory of a Vulkan device, and so needs one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;
use gpu_allocator::MemoryLocation;
use gpu_allocator::vulkan::{
    Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc,
};

use super::{ALIGNMENT, Contestant};

/// The allocator with its default settings, on the first device. The device lives until the process ends.
pub(crate) struct GpuAllocator(Mutex<Allocator>);

impl GpuAllocator {
    pub(crate) fn new() -> Result<Self, String> {
        // SAFETY: the loader is the system's own library. It is never unloaded, because the entry and what
        // is made from it are leaked.
        let entry = unsafe { ash::Entry::load() }.map_err(|_| "there is no Vulkan loader".to_owned())?;
        let entry = Box::leak(Box::new(entry));
        let failed = |what: &'static str| move |error: vk::Result| format!("{what}: {error}");
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: these calls are plain Vulkan start-up, and the descriptions outlive the calls.
        let (instance, physical_device, device) = unsafe {
            let instance = entry.create_instance(&info, None).map_err(failed("no Vulkan instance"))?;
            let devices = instance.enumerate_physical_devices().map_err(failed("no list of devices"))?;
            let physical = *devices.first().ok_or("there is no Vulkan device")?;
            let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let info = vk::DeviceCreateInfo::default().queue_create_infos(&queue);
            let device = instance.create_device(physical, &info, None).map_err(failed("no device"))?;
            (instance, physical, device)
        };
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance,
            device,
            physical_device,
            debug_settings: Default::default(),
            buffer_device_address: false,
            allocation_sizes: Default::default(),
        });
        let allocator = allocator.map_err(|error| error.to_string())?;
        Ok(Self(Mutex::new(allocator)))
    }

    fn lock(&self) -> MutexGuard<'_, Allocator> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contestant for GpuAllocator {
    type Held = Allocation;

    #[inline]
    fn allocate(&self, size: u64) -> Option<Allocation> {
        let requirements = vk::MemoryRequirements { size, alignment: ALIGNMENT, memory_type_bits: u32::MAX };
        let request = AllocationCreateDesc {
            name: "",
            requirements,
            location: MemoryLocation::GpuOnly,
            linear: true,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        };
        self.lock().allocate(&request).ok()
    }

    #[inline]
    fn free(&self, slot: &mut Option<Allocation>) {
        if let Some(allocation) = slot.take() {
            let freed = self.lock().free(allocation);
            assert!(freed.is_ok(), "gpu-allocator lost an allocation");
        }
    }

    fn reserved(&self) -> Option<u64> {
        Some(self.lock().capacity())
    }
}
