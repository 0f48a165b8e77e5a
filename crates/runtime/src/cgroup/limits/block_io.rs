use spec::runtime::{BlockIo, BlockIoWeightDevice, ThrottleDevice};
use sys::Result;

use super::{Cell, Missing, Plan, Row, invalid, number};

impl Plan<'_> {
    pub(super) fn block_io(&mut self, block_io: &BlockIo) -> Result<()> {
        const LEAF: &str =
            "weights of leaves went with the CFQ scheduler, in Linux 5.0; leave it out";
        if block_io.leaf_weight.is_some_and(|weight| weight != 0) {
            return Err(invalid("blockIO.leafWeight", LEAF));
        }
        if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
            check("blockIO.weight", weight)?;
            self.row(Row {
                field: "blockIO.weight",
                controller: "blkio",
                // Which name it has depends on the scheduler in use.
                v1: Cell::Either([
                    ("blkio.bfq.weight", weight.to_string()),
                    ("blkio.weight", weight.to_string()),
                ]),
                v2: Cell::Either([
                    ("io.bfq.weight", weight.to_string()),
                    ("io.weight", scaled(weight).to_string()),
                ]),
                systemd: Some(number("IOWeight", scaled(weight))),
                missing: Missing::Warn,
            })?;
        }
        for device in &block_io.weight_device {
            if device.leaf_weight.is_some_and(|weight| weight != 0) {
                return Err(invalid("blockIO.weightDevice.leafWeight", LEAF));
            }
            self.weight_of_device(device)?;
        }
        self.throttle(
            &block_io.throttle_read_bps_device,
            ("blockIO.throttleReadBpsDevice", "rbps"),
            "blkio.throttle.read_bps_device",
        )?;
        self.throttle(
            &block_io.throttle_write_bps_device,
            ("blockIO.throttleWriteBpsDevice", "wbps"),
            "blkio.throttle.write_bps_device",
        )?;
        self.throttle(
            &block_io.throttle_read_iops_device,
            ("blockIO.throttleReadIOPSDevice", "riops"),
            "blkio.throttle.read_iops_device",
        )?;
        self.throttle(
            &block_io.throttle_write_iops_device,
            ("blockIO.throttleWriteIOPSDevice", "wiops"),
            "blkio.throttle.write_iops_device",
        )
    }

    fn weight_of_device(&mut self, device: &BlockIoWeightDevice) -> Result<()> {
        let Some(weight) = device.weight.filter(|weight| *weight != 0) else {
            return Ok(());
        };
        check("blockIO.weightDevice", weight)?;
        let name = name("blockIO.weightDevice", device.major, device.minor)?;
        self.row(Row {
            field: "blockIO.weightDevice",
            controller: "blkio",
            v1: Cell::Either([
                ("blkio.bfq.weight_device", format!("{name} {weight}")),
                ("blkio.weight_device", format!("{name} {weight}")),
            ]),
            v2: Cell::Either([
                ("io.bfq.weight", format!("{name} {weight}")),
                ("io.weight", format!("{name} {}", scaled(weight))),
            ]),
            systemd: None,
            missing: Missing::Warn,
        })
    }

    /// A rate of zero lifts the limit.
    fn throttle(
        &mut self,
        devices: &[ThrottleDevice],
        (field, key): (&'static str, &str),
        v1: &'static str,
    ) -> Result<()> {
        for ThrottleDevice { major, minor, rate } in devices {
            let name = name(field, *major, *minor)?;
            let v2 = match rate {
                0 => format!("{name} {key}=max"),
                rate => format!("{name} {key}={rate}"),
            };
            self.row(Row {
                field,
                controller: "blkio",
                v1: Cell::Write(v1, format!("{name} {rate}")),
                v2: Cell::Write("io.max", v2),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        Ok(())
    }
}

fn check(field: &str, weight: u16) -> Result<()> {
    if (10..=1000).contains(&weight) {
        return Ok(());
    }
    Err(invalid(field, format!("{weight} is not from 10 to 1000")))
}

fn name(field: &str, major: i64, minor: i64) -> Result<String> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => Err(invalid(field, format!("{major}:{minor} is no device"))),
    }
}

/// 10 to 1000 as 1 to 10000, as systemd and the other runtimes do.
fn scaled(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}
