//! Instructions of system call filters as numbers.

use sys::seccomp::Instruction;

/// An instruction as the kernel has it, in one number.
pub(crate) fn pack(instruction: Instruction) -> u64 {
    u64::from(instruction.code)
        | u64::from(instruction.jump_true) << 16
        | u64::from(instruction.jump_false) << 24
        | u64::from(instruction.value) << 32
}

pub(crate) fn unpack(packed: u64) -> Instruction {
    let bytes = packed.to_le_bytes();
    Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        value: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}
