//! The OCI image specification 1.1, and the Docker schema 2 types that share
//! its shape.

mod config;
mod descriptor;
mod manifest;
mod media_type;
mod platform;

pub use config::{ContainerDefaults, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use manifest::{Index, Manifest};
pub use media_type::{LayerCompression, MediaType};
pub use platform::Platform;
