//! Who a thread is and what it may do.

use crate::image::schema::Credentials;
use crate::procfs::Status;

pub(super) fn collect(status: &Status, secure_bits: u64) -> Credentials {
    let four = |name: &str| {
        let all = status.numbers(name);
        std::array::from_fn(|index| all.get(index).copied().unwrap_or(0))
    };
    Credentials {
        uids: four("Uid"),
        gids: four("Gid"),
        groups: status.numbers("Groups"),
        inheritable: status.hex("CapInh"),
        permitted: status.hex("CapPrm"),
        effective: status.hex("CapEff"),
        bounding: status.hex("CapBnd"),
        ambient: status.hex("CapAmb"),
        secure_bits: u32::try_from(secure_bits).unwrap_or(0),
        no_new_privileges: status.get("NoNewPrivs") == "1",
    }
}
