//! `wharf info`.

use sys::Result;

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::template::{Purpose, Template};
use crate::output::{self, human};

const DEFAULT: &str = "\
Containers: {{.Containers}}
 Running: {{.ContainersRunning}}
 Paused: {{.ContainersPaused}}
 Stopped: {{.ContainersStopped}}
Images: {{.Images}}
Version: {{.ServerVersion}}
Storage Driver: {{.Driver}}
Logging Driver: {{.LoggingDriver}}
Cgroup Version: {{.CgroupVersion}}
Runtime: {{.Runtime}}
Security Options:{{range .SecurityOptions}}
 {{.}}{{end}}
Kernel Version: {{.KernelVersion}}
Operating System: {{.OperatingSystem}}
OSType: {{.OSType}}
Architecture: {{.Architecture}}
CPUs: {{.NCPU}}
Name: {{.Name}}
Root Dir: {{.WharfRootDir}}
Run Root Dir: {{.WharfRunRootDir}}
";

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let info = call.engine()?.info()?;
    let data = output::value_of(&info)?;
    match call.given.text("format") {
        None | Some("") => {
            let mut text = Template::parse(DEFAULT)?.render(&data, Purpose::Row)?;
            let memory = format!("Total Memory: {}\n", human::memory(info.mem_total));
            let place = text.find("Name: ").unwrap_or(text.len());
            text.insert_str(place, &memory);
            output::print(&text)?;
            for warning in &info.warnings {
                output::note(&format!("WARNING: {warning}"));
            }
        }
        Some("json") => output::print_line(&data.to_string())?,
        Some(format) => {
            output::print_line(&Template::parse(format)?.render(&data, Purpose::Row)?)?;
        }
    }
    Ok(DONE)
}
