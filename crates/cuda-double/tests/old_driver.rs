//! A driver that is too old gives an error with a remedy. This test has its own process, because a process
//! checks the driver only once.

use cuda_double::Double;
use warmheap::device::DeviceError;
use warmheap::device::cuda::CudaDevice;

#[test]
fn an_old_driver_is_refused_with_its_version() {
    let double = Double::install();
    double.set_driver_version(11_040);
    for _ in 0..2 {
        let error = CudaDevice::open(0).unwrap_err();
        assert!(matches!(error, DeviceError::Unavailable { .. }));
        let text = error.to_string();
        assert!(text.contains("11.4") && text.contains("12.0"), "{text}");
    }
    assert_eq!(double.calls("cuInit"), 0);
}
