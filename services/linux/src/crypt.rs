//! A block device whose blocks are encrypted on the disk: the kernel's dm-crypt.
//!
//! The table's text is made by `aios_luks`, with the key in it. While the device is there the kernel has the key; taking it
//! away makes the kernel overwrite it.

use crate::dm::{self, Access, Device, MapperError, Secrecy, Target};

/// Makes `/dev/dm-N` of `sectors` sectors of 512 bytes, with these parameters of the target `crypt`.
pub fn open(name: &str, sectors: u64, parameters: &str) -> Result<Device, MapperError> {
    dm::open(name, &Target { kind: "crypt", sectors, parameters, access: Access::Write, secrecy: Secrecy::Key })
}

/// The device of this name, if it is open.
pub fn find(name: &str) -> Result<Option<Device>, MapperError> {
    dm::find(name)
}

/// Takes a device away that nothing uses.
pub fn remove(name: &str) -> Result<(), MapperError> {
    dm::remove(name)
}
