use sys::Result;
use sys::caps::Caps;
use sys::seccomp::Instruction;
pub(crate) fn builtin(_caps: Caps) -> Result<Vec<Instruction>> {
    Ok(vec![Instruction {
        code: 6,
        jump_true: 0,
        jump_false: 0,
        value: 0x7fff_0000,
    }])
}
pub(crate) fn custom(_p: &spec::runtime::Seccomp) -> Result<(Vec<Instruction>, u64)> {
    Ok((
        vec![Instruction {
            code: 6,
            jump_true: 0,
            jump_false: 0,
            value: 0x7fff_0000,
        }],
        0,
    ))
}
