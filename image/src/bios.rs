//! What a machine in legacy BIOS mode runs of our media: a text that says what to change, on screen and serial line.
//!
//! The same bytes are the boot code of a disk's first sector and the boot image of a CD. They load nothing and write
//! nothing. A key restarts the machine, so that the person gets to the firmware's settings.

/// Where the table of partitions begins in a disk's first sector; the disk's signature before it stays free.
pub const LIMIT: usize = 440;

/// The program, for the 8086. It does not depend on where it is loaded: firmware starts it at 0000:7C00 or 07C0:0000.
#[rustfmt::skip]
const CODE: [u8; 77] = [
    0xfa,                         // 00  cli
    0x31, 0xc0,                   // 01  xor  ax, ax
    0x8e, 0xd0,                   // 03  mov  ss, ax
    0xbc, 0x00, 0x7c,             // 05  mov  sp, 7C00h      the stack is below the program
    0xfb,                         // 08  sti
    0xfc,                         // 09  cld
    0x8e, 0xc0,                   // 0A  mov  es, ax
    0xe8, 0x00, 0x00,             // 0C  call 0F             puts the own address on the stack
    0x5e,                         // 0F  pop  si
    0x83, 0xc6, 0x3e,             // 10  add  si, 4D - 0F    the text
    0x0e,                         // 13  push cs
    0x1f,                         // 14  pop  ds
    0x26, 0xa1, 0x00, 0x04,       // 15  mov  ax, es:[0400h] the first serial port, 0 without one
    0x89, 0xc7,                   // 19  mov  di, ax
    0x85, 0xff,                   // 1B  test di, di
    0x74, 0x07,                   // 1D  jz   26
    0xb8, 0xe3, 0x00,             // 1F  mov  ax, 00E3h      9600 baud, 8 bits, no parity
    0x31, 0xd2,                   // 22  xor  dx, dx
    0xcd, 0x14,                   // 24  int  14h
    0xac,                         // 26  lodsb
    0x84, 0xc0,                   // 27  test al, al
    0x74, 0x19,                   // 29  jz   44
    0x50,                         // 2B  push ax
    0x56,                         // 2C  push si
    0x57,                         // 2D  push di
    0xb4, 0x0e,                   // 2E  mov  ah, 0Eh        show it on the screen
    0xbb, 0x07, 0x00,             // 30  mov  bx, 0007h
    0xcd, 0x10,                   // 33  int  10h
    0x5f,                         // 35  pop  di
    0x5e,                         // 36  pop  si
    0x58,                         // 37  pop  ax
    0x85, 0xff,                   // 38  test di, di
    0x74, 0xea,                   // 3A  jz   26
    0xb4, 0x01,                   // 3C  mov  ah, 01h        send it
    0x31, 0xd2,                   // 3E  xor  dx, dx
    0xcd, 0x14,                   // 40  int  14h
    0xeb, 0xe2,                   // 42  jmp  26
    0x31, 0xc0,                   // 44  xor  ax, ax
    0xcd, 0x16,                   // 46  int  16h            wait for a key
    0xea, 0x00, 0x00, 0xff, 0xff, // 48  jmp  FFFF:0000      restart
];

/// What it says. Each line fits a screen of 80 columns.
pub const TEXT: &str = "\r
AIOS needs UEFI, and this machine was started in legacy BIOS mode.\r
Nothing was changed. In the firmware's settings choose UEFI as boot mode\r
(switch CSM or legacy boot off) and start this medium again.\r
A virtual machine needs UEFI (OVMF) as its firmware. A machine that has\r
no UEFI cannot run AIOS. Press a key to restart.\r
";

/// The boot code of a disk's first sector.
#[must_use]
pub fn boot_code() -> Vec<u8> {
    [&CODE, TEXT.as_bytes(), &[0]].concat()
}

/// The boot image of a CD: the same, filled up to the CD's sector.
#[must_use]
pub fn boot_image() -> Vec<u8> {
    let mut image = boot_code();
    image.resize(2048, 0);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_the_table_of_partitions_alone() {
        assert!(boot_code().len() <= LIMIT, "{} bytes", boot_code().len());
    }

    #[test]
    fn the_text_is_where_the_program_looks_and_can_be_shown() {
        // The `add` of 10h has the distance from the address that `call` gives.
        assert_eq!(0x0f + usize::from(CODE[0x12]), CODE.len());
        assert!(TEXT.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')));
        assert!(TEXT.lines().all(|line| line.len() <= 79));
    }
}
