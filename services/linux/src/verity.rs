//! A block device that checks every block it gives against a root hash: the kernel's dm-verity.
//!
//! The table's text is made by `aios_verity::target_parameters`; a wrong root hash or a changed block shows up as an I/O
//! error when it is read.

use crate::dm::{self, Access, Device, MapperError, Secrecy, Target};

/// Makes `/dev/dm-N`, read-only, of `sectors` sectors of 512 bytes, with these parameters of the target `verity`.
pub fn open(name: &str, sectors: u64, parameters: &str) -> Result<Device, MapperError> {
    dm::open(name, &Target { kind: "verity", sectors, parameters, access: Access::Read, secrecy: Secrecy::None })
}

/// Takes a device away that nothing uses.
pub fn remove(name: &str) -> Result<(), MapperError> {
    dm::remove(name)
}
