//! stub
use crate::fs::operations::OperationKind;
use crate::fs::{Handle, MemFs, VolumeId};
use leasehold::Status;
pub enum Change {
    Operation(OperationKind),
    Position(u64),
}
pub fn query_file(_: &mut MemFs, _: Handle, _: u8, _: usize) -> Result<(Status, Vec<u8>), Status> {
    Err(Status::NOT_SUPPORTED)
}
pub fn query_fs(_: &mut MemFs, _: Handle, _: u8, _: usize) -> Result<(Status, Vec<u8>), Status> {
    Err(Status::NOT_SUPPORTED)
}
pub fn query_security(_: &mut MemFs, _: Handle, _: u32, _: usize) -> Result<(Status, Vec<u8>), Status> {
    Err(Status::NOT_SUPPORTED)
}
pub fn query_directory(_: &mut MemFs, _: Handle, _: u8, _: u8, _: &str, _: usize) -> Result<Vec<u8>, Status> {
    Err(Status::NOT_SUPPORTED)
}
pub fn parse_set_file(_: u8, _: &[u8], _: VolumeId) -> Result<Change, Status> {
    Err(Status::NOT_SUPPORTED)
}
pub fn apply(_: &mut MemFs, _: Handle, _: &Change) -> Result<(), Status> {
    Err(Status::NOT_SUPPORTED)
}
