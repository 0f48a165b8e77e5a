//! `wharf-runtime difference`: takes out of a memory image, for the engine,
//! what the images have that it is to stand on.

use std::os::fd::OwnedFd;

use checkpoint::{Base, Difference, Parents, stand_on};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, DifferenceJob, FromDifference};
use sys::{Context as _, Error, ErrorKind, Result, inherited};

/// Larger than any job.
const JOB_MAX: usize = 4 << 10;

/// Runs until it is done.
pub(crate) fn run() -> Result<()> {
    let channel = Channel::from_fd(inherited::take(CONTROL_FD)?);
    channel.send(&match compare() {
        Ok(Difference { own, shared }) => FromDifference::Made { own, shared },
        Err(error) => FromDifference::Failed(error),
    })
}

fn compare() -> Result<Difference> {
    let job = read_job().context(|| "read what is to be compared")?;
    let mut directories = (FIRST_EXTRA_FD..)
        .take(job.bases + 1)
        .map(inherited::take)
        .collect::<Result<Vec<OwnedFd>>>()?
        .into_iter();
    let (Some(image), Some(base)) = (directories.next(), directories.next()) else {
        return Err(Error::new(ErrorKind::InvalidInput, "there is no base"));
    };
    let base = Base::open(&base, &Parents::Given(directories.collect()))?;
    stand_on(&image, &base)
}

fn read_job() -> Result<DifferenceJob> {
    let text = sys::memfd::read_sealed(inherited::take(JOB_FD)?, JOB_MAX)?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}
