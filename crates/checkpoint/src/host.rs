//! What a checkpoint needs of the machine that it goes on on.

use sys::{Error, ErrorKind, Result};

use crate::image::crc::crc32;
use crate::image::schema::Host;
use crate::inject::number;
use crate::maps::Line;

/// Where XCR0 lies in what ptrace(2) gives of the extended state.
const XCR0: usize = 464;

/// The machine as process `pid` with these mappings sees it.
pub(crate) fn describe(pid: i32, lines: &[Line], extended: &[u8]) -> Result<Host> {
    let mut host = Host {
        architecture: std::env::consts::ARCH.to_owned(),
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        processor_state: number(extended, XCR0),
        ..Host::default()
    };
    for line in lines {
        if line.name.starts_with("[vvar") {
            host.vvar_size += line.end - line.start;
        } else if line.name == "[vdso]" {
            host.vdso_size = line.end - line.start;
            let size = usize::try_from(host.vdso_size).unwrap_or(0).min(1 << 20);
            let mut code = vec![0; size];
            sys::process_vm::read_exact(pid, line.start, &mut code)?;
            host.vdso_checksum = crc32(&code);
        }
    }
    Ok(host)
}

/// Refuses a checkpoint of another kind of machine.
pub(crate) fn compare(saved: &Host, here: &Host) -> Result<()> {
    let refuse = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    if saved.architecture != here.architecture {
        return refuse(format!(
            "the checkpoint was made on {}, and this machine is {}",
            saved.architecture, here.architecture
        ));
    }
    if saved.processor_state & !here.processor_state != 0 {
        return refuse(format!(
            "the checkpoint needs processor features {:#x} that this processor lacks; restore it \
             on a machine with a processor of the same kind",
            saved.processor_state & !here.processor_state
        ));
    }
    if (saved.vdso_size, saved.vdso_checksum, saved.vvar_size)
        != (here.vdso_size, here.vdso_checksum, here.vvar_size)
    {
        return refuse(format!(
            "the checkpoint was made under kernel {}, whose vdso is not that of this kernel {}; \
             restore it under the same kernel",
            saved.kernel, here.kernel
        ));
    }
    Ok(())
}
