//! Links the addon against the Node-API symbols of the process that loads it.

fn main() {
    #[cfg(feature = "node")]
    napi_build::setup();
}
