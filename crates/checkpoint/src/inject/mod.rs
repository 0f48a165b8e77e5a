//! What runs inside a tracee: programs of system calls, and the 59 bytes of
//! machine code that execute them.
//!
//! A program costs one resumption of the tracee however long it is, so what
//! can be gathered is gathered into one. The code touches no memory but the
//! program's own and no registers but general ones.

mod program;
mod thread;

pub(crate) use program::{Arg, Outcome, Place, Program, number, tail};
pub(crate) use thread::{Area, Running, Thread, find_syscall};

/// Position-independent x86-64. r15 points to the call to make (64 bytes:
/// number, whether it may fail, six arguments, result), r13 to the last one,
/// which makes the tracee stop. A call that fails and may not leads there.
///
/// ```text
/// next:    mov (%r15),%eax          mov 8(%r15),%rdi     mov 16(%r15),%rsi
///          mov 24(%r15),%rdx        mov 32(%r15),%r10    mov 40(%r15),%r8
///          mov 48(%r15),%r9         syscall              mov %rax,56(%r15)
///          cmpl $0,4(%r15)          jne advance
///          cmp $-4095,%rax          jb advance
///          mov %r13,%r15            jmp next
/// advance: add $64,%r15             jmp next
/// ```
const CODE: [u8; 59] = [
    0x41, 0x8b, 0x07, 0x49, 0x8b, 0x7f, 0x08, 0x49, 0x8b, 0x77, 0x10, 0x49, 0x8b, 0x57, 0x18, 0x4d,
    0x8b, 0x57, 0x20, 0x4d, 0x8b, 0x47, 0x28, 0x4d, 0x8b, 0x4f, 0x30, 0x0f, 0x05, 0x49, 0x89, 0x47,
    0x38, 0x41, 0x83, 0x7f, 0x04, 0x00, 0x75, 0x0d, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x72, 0x05,
    0x4d, 0x89, 0xef, 0xeb, 0xcb, 0x49, 0x83, 0xc7, 0x40, 0xeb, 0xc5,
];

/// Where in [`CODE`] the tracee stands after a system call.
const AFTER_CALL: u64 = 0x1d;
