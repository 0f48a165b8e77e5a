use super::*;
use spec::runtime::{
    BlockIo, BlockIoWeightDevice, Cpu, HugepageLimit, InterfacePriority, Memory, Network, Pids,
    Rdma, ThrottleDevice,
};

fn on(version: Version, resources: &Resources) -> Vec<String> {
    let planned = plan(resources, &|_| Some(version)).unwrap();
    planned
        .writes
        .into_iter()
        .map(|write| match write.value {
            Value::Text(text) => format!("{}={text}", write.file),
            Value::AfterFirstWord(text) => format!("{}=… {text}", write.file),
        })
        .collect()
}

fn refusal(version: Version, resources: &Resources) -> String {
    plan(resources, &|_| Some(version)).unwrap_err().to_string()
}

fn memory(memory: Memory) -> Resources {
    Resources {
        memory: Some(memory),
        ..Resources::default()
    }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources {
        cpu: Some(cpu),
        ..Resources::default()
    }
}

#[test]
fn the_same_limits_read_differently_in_each_version() {
    let resources = Resources {
        memory: Some(Memory {
            limit: Some(100),
            swap: Some(150),
            reservation: Some(50),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: Some(1024),
            quota: Some(5000),
            burst: Some(1000),
            period: Some(10_000),
            cpus: Some("0-1".to_owned()),
            mems: Some("0".to_owned()),
            ..Cpu::default()
        }),
        pids: Some(Pids { limit: Some(7) }),
        hugepage_limits: vec![HugepageLimit {
            page_size: "2MB".to_owned(),
            limit: 4096,
        }],
        rdma: [(
            "mlx5_0".to_owned(),
            Rdma {
                hca_handles: Some(3),
                hca_objects: Some(10),
            },
        )]
        .into(),
        ..Resources::default()
    };
    assert_eq!(
        on(Version::V1, &resources),
        [
            "memory.limit_in_bytes=100",
            "memory.memsw.limit_in_bytes=150",
            "memory.soft_limit_in_bytes=50",
            "cpu.shares=1024",
            "cpu.cfs_period_us=10000",
            "cpu.cfs_quota_us=5000",
            "cpu.cfs_burst_us=1000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "pids.max=7",
            "hugetlb.2MB.limit_in_bytes=4096",
            "hugetlb.2MB.rsvd.limit_in_bytes=4096",
            "rdma.max=mlx5_0 hca_handle=3 hca_object=10",
        ]
    );
    assert_eq!(
        on(Version::V2, &resources),
        [
            "memory.max=100",
            "memory.swap.max=50",
            "memory.low=50",
            "cpu.weight=100",
            "cpu.max=5000 10000",
            "cpu.max.burst=1000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "pids.max=7",
            "hugetlb.2MB.max=4096",
            "hugetlb.2MB.rsvd.max=4096",
            "rdma.max=mlx5_0 hca_handle=3 hca_object=10",
        ]
    );
    let properties = plan(&resources, &|_| Some(Version::V2)).unwrap().properties;
    let number = |name, value| Property {
        name,
        value: PropertyValue::Number(value),
    };
    let set = |name, byte| Property {
        name,
        value: PropertyValue::Set(vec![byte]),
    };
    assert_eq!(
        properties,
        [
            number("MemoryMax", 100),
            number("MemorySwapMax", 50),
            number("MemoryLow", 50),
            number("CPUWeight", 100),
            number("CPUQuotaPeriodUSec", 10_000),
            number("CPUQuotaPerSecUSec", 500_000),
            set("AllowedCPUs", 3),
            set("AllowedMemoryNodes", 1),
            number("TasksMax", 7),
        ]
    );
}

#[test]
fn block_devices_have_weights_and_rates() {
    let rate = |rate| {
        vec![ThrottleDevice {
            major: 8,
            minor: 16,
            rate,
        }]
    };
    let resources = Resources {
        block_io: Some(BlockIo {
            weight: Some(1000),
            weight_device: vec![BlockIoWeightDevice {
                major: 8,
                minor: 16,
                weight: Some(10),
                leaf_weight: None,
            }],
            throttle_read_bps_device: rate(1),
            throttle_write_bps_device: rate(2),
            throttle_read_iops_device: rate(0),
            throttle_write_iops_device: rate(4),
            ..BlockIo::default()
        }),
        ..Resources::default()
    };
    assert_eq!(
        on(Version::V1, &resources),
        [
            "blkio.bfq.weight=1000",
            "blkio.bfq.weight_device=8:16 10",
            "blkio.throttle.read_bps_device=8:16 1",
            "blkio.throttle.write_bps_device=8:16 2",
            "blkio.throttle.read_iops_device=8:16 0",
            "blkio.throttle.write_iops_device=8:16 4",
        ]
    );
    assert_eq!(
        on(Version::V2, &resources),
        [
            "io.bfq.weight=1000",
            "io.bfq.weight=8:16 10",
            "io.max=8:16 rbps=1",
            "io.max=8:16 wbps=2",
            "io.max=8:16 riops=max",
            "io.max=8:16 wiops=4",
        ]
    );
    let planned = plan(&resources, &|_| Some(Version::V2)).unwrap();
    let other = |value: &str| Some(("io.weight", value.to_owned()));
    assert_eq!(planned.writes[0].other, other("10000"));
    assert_eq!(planned.writes[1].other, other("8:16 1"));
}

#[test]
fn unlimited_and_unsaid_are_not_the_same() {
    let unlimited = memory(Memory {
        limit: Some(-1),
        ..Memory::default()
    });
    assert_eq!(
        on(Version::V1, &unlimited),
        ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]
    );
    assert_eq!(
        on(Version::V2, &unlimited),
        ["memory.max=max", "memory.swap.max=max"]
    );
    let unsaid = memory(Memory {
        limit: Some(0),
        swap: Some(0),
        reservation: Some(0),
        disable_oom_killer: Some(false),
        use_hierarchy: Some(true),
        ..Memory::default()
    });
    assert!(on(Version::V1, &unsaid).is_empty());
    assert!(on(Version::V2, &unsaid).is_empty());
    let alone = cpu(Cpu {
        period: Some(20_000),
        ..Cpu::default()
    });
    assert_eq!(on(Version::V1, &alone), ["cpu.cfs_period_us=20000"]);
    assert_eq!(on(Version::V2, &alone), ["cpu.max=… 20000"]);
    let alone = cpu(Cpu {
        quota: Some(-1),
        ..Cpu::default()
    });
    assert_eq!(on(Version::V1, &alone), ["cpu.cfs_quota_us=-1"]);
    assert_eq!(on(Version::V2, &alone), ["cpu.max=max"]);
}

#[test]
fn an_idle_group_gets_no_weight() {
    let idle = |idle| {
        cpu(Cpu {
            idle: Some(idle),
            shares: Some(2048),
            ..Cpu::default()
        })
    };
    assert_eq!(on(Version::V1, &idle(1)), ["cpu.idle=1"]);
    assert_eq!(on(Version::V1, &idle(0)), ["cpu.idle=0", "cpu.shares=2048"]);
}

#[test]
fn the_usual_share_is_the_usual_weight_and_the_ends_are_the_ends() {
    let pairs = [
        (0, 1),
        (2, 1),
        (512, 59),
        (1024, 100),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ];
    for (shares, weight) in pairs {
        assert_eq!(cpu::weight_of_shares(shares), weight, "{shares}");
    }
}

#[test]
fn what_a_version_lacks_is_refused_by_name() {
    let cases = [
        (
            "memory.swappiness",
            memory(Memory {
                swappiness: Some(60),
                ..Memory::default()
            }),
        ),
        (
            "memory.kernelTCP",
            memory(Memory {
                kernel_tcp: Some(1 << 20),
                ..Memory::default()
            }),
        ),
        (
            "memory.disableOOMKiller",
            memory(Memory {
                disable_oom_killer: Some(true),
                ..Memory::default()
            }),
        ),
        (
            "cpu.realtimeRuntime",
            cpu(Cpu {
                realtime_runtime: Some(1000),
                ..Cpu::default()
            }),
        ),
        (
            "network.classID",
            Resources {
                network: Some(Network {
                    class_id: Some(0x0010_0001),
                    priorities: Vec::new(),
                }),
                ..Resources::default()
            },
        ),
        (
            "network.priorities",
            Resources {
                network: Some(Network {
                    class_id: None,
                    priorities: vec![InterfacePriority {
                        name: "eth0".to_owned(),
                        priority: 5,
                    }],
                }),
                ..Resources::default()
            },
        ),
    ];
    for (field, resources) in &cases {
        assert_eq!(on(Version::V1, resources).len(), 1, "{field}");
        let said = refusal(Version::V2, resources);
        assert!(
            said.contains(&format!("linux.resources.{field}: ")),
            "{said}"
        );
        // No controller of that name on version 2.
        let said = plan(resources, &|_| None).unwrap_err().to_string();
        assert!(said.contains(field), "{said}");
    }
    let unified = Resources {
        unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
        ..Resources::default()
    };
    assert_eq!(on(Version::V2, &unified), ["memory.high=1000"]);
    assert!(refusal(Version::V1, &unified).contains("memory.high"));
}

#[test]
fn refuses_what_no_kernel_could_mean() {
    for list in ["0-999999999", "", "a", "3-1", "0,,1"] {
        assert_eq!(cpu::numbers(list), None, "{list:?}");
    }
    assert_eq!(cpu::numbers("0-3,9"), Some(vec![0b1111, 0b10]));
    let pids = Resources {
        pids: Some(Pids { limit: Some(1) }),
        ..Resources::default()
    };
    let error = plan(&pids, &|_| None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("pids"));
    for file in ["cgroup.procs", "../memory.max", "memory", "memory/max", ""] {
        let unified = Resources {
            unified: [(file.to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        assert!(refusal(Version::V2, &unified).contains("unified"), "{file}");
    }
    let swap = memory(Memory {
        limit: Some(100),
        swap: Some(50),
        ..Memory::default()
    });
    assert!(refusal(Version::V2, &swap).contains("50"));
    let weight = Resources {
        block_io: Some(BlockIo {
            weight: Some(5),
            ..BlockIo::default()
        }),
        ..Resources::default()
    };
    assert!(refusal(Version::V1, &weight).contains("10 to 1000"));
}

#[test]
fn lines_of_a_unified_file_are_writes_of_their_own() {
    let unified = Resources {
        unified: [("io.max".to_owned(), "8:0 rbps=1\n8:16 wbps=2\n".to_owned())].into(),
        ..Resources::default()
    };
    assert_eq!(
        on(Version::V2, &unified),
        ["io.max=8:0 rbps=1", "io.max=8:16 wbps=2"]
    );
}
