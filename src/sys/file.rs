//! Linux: the production side of the [`FileSystem`](super::FileSystem) seam.
/// The real kernel.
#[derive(Debug)]
pub struct Linux;
