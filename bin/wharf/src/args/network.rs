//! Verbs about networks.

use clap::Command;

use super::{
    flag, format_option, inspect_format, list, operand, operands, shape, short_flag, short_list,
    short_value, value,
};

const CREATE_EXAMPLES: &str = "
Examples:
  wharf network create back                             containers on it find each other by name
  wharf network create --internal --subnet 10.9.0.0/24 db
  wharf network create -d macvlan -o parent=eth0 --subnet 192.168.1.0/24 --gateway 192.168.1.1 lan
";

pub(crate) fn create(command: Command) -> Command {
    shape(command, "[OPTIONS] NETWORK")
        .after_help(CREATE_EXAMPLES)
        .arg(list(
            "aux-address",
            "NAME=ADDRESS",
            "Address that somebody else has",
        ))
        .arg(short_value(
            'd',
            "driver",
            "NAME",
            "bridge or macvlan (default bridge)",
        ))
        .arg(list(
            "gateway",
            "ADDRESS",
            "Address of the host, the first one of the subnet by default",
        ))
        .arg(flag("internal", "Let nothing out"))
        .arg(list(
            "ip-range",
            "SUBNET",
            "Part of the subnet that containers get addresses from",
        ))
        .arg(flag(
            "ipv4",
            "Give IPv4 addresses (there is no way without)",
        ))
        .arg(flag("ipv6", "Give IPv6 addresses, too (default true)"))
        .arg(list("label", "KEY[=VALUE]", "Set a label"))
        .arg(short_list(
            'o',
            "opt",
            "KEY=VALUE",
            "parent, macvlan_mode, com.docker.network.driver.mtu and others",
        ))
        .arg(list(
            "subnet",
            "SUBNET",
            "Addresses, one subnet of each IP version",
        ))
        // What Docker's users write and what changes nothing here.
        .arg(flag("attachable", "").hide(true))
        .arg(value("ipam-driver", "NAME", "default").hide(true))
        .arg(value("scope", "SCOPE", "local").hide(true))
        .arg(operand("NETWORK"))
}

pub(crate) fn connect(command: Command) -> Command {
    shape(command, "[OPTIONS] NETWORK CONTAINER")
        .arg(list("alias", "NAME", "One more name on this network"))
        .arg(list(
            "driver-opt",
            "KEY=VALUE",
            "com.docker.network.endpoint.ifname=NAME: how its link is called",
        ))
        .arg(value(
            "gw-priority",
            "NUMBER",
            "What leaves goes by the network with the highest one",
        ))
        .arg(value("ip", "ADDRESS", "IPv4 address"))
        .arg(value("ip6", "ADDRESS", "IPv6 address"))
        .arg(list(
            "link",
            "CONTAINER[:NAME]",
            "Find another container by a name that is for this one alone",
        ))
        .arg(operand("NETWORK"))
        .arg(operand("CONTAINER"))
}

pub(crate) fn disconnect(command: Command) -> Command {
    shape(command, "[OPTIONS] NETWORK CONTAINER")
        .arg(short_flag('f', "force", "Also a container that is lost"))
        .arg(operand("NETWORK"))
        .arg(operand("CONTAINER"))
}

pub(crate) fn inspect(command: Command) -> Command {
    shape(command, "[OPTIONS] NETWORK [NETWORK...]")
        .arg(inspect_format())
        .arg(short_flag('v', "verbose", "").hide(true))
        .arg(operands("NAME"))
}

pub(crate) fn ls(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(short_list(
            'f',
            "filter",
            "KEY=VALUE",
            "Show some only: dangling, driver, id, label, name, scope, type",
        ))
        .arg(format_option())
        .arg(flag("no-trunc", "Do not shorten"))
        .arg(short_flag('q', "quiet", "Only ids"))
}

pub(crate) fn ports(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(format_option())
}

pub(crate) fn prune(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(list(
            "filter",
            "KEY=VALUE",
            "Remove some only, as until=24h or label=KEY",
        ))
        .arg(short_flag('f', "force", "Do not ask"))
}

pub(crate) fn rm(command: Command) -> Command {
    shape(command, "[OPTIONS] NETWORK [NETWORK...]")
        .arg(short_flag(
            'f',
            "force",
            "A network that is not there is fine",
        ))
        .arg(operands("NETWORK"))
}
