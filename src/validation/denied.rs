//! The addresses that validation never connects to, whatever a name says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

#[derive(Debug)]
pub(super) struct DeniedNetworks(Vec<IpNet>);

impl DeniedNetworks {
    pub(super) fn new(configured: Vec<IpNet>) -> Self {
        let mut networks = always();
        // a network written as ::ffff:10.0.0.0/104 means the IPv4 one
        networks.extend(configured.into_iter().map(canonical));
        Self(networks)
    }

    /// The network that forbids this address, if one does. An IPv4 address wrapped in an IPv6
    /// one is judged as what it is: mapped (RFC 4291 §2.5.5.2) or behind NAT64 (RFC 6052 §2.1).
    pub(super) fn forbids(&self, address: IpAddr) -> Option<IpNet> {
        let address = address.to_canonical();
        let inner = match address {
            IpAddr::V6(v6) => behind_nat64(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        self.0
            .iter()
            .find(|network| {
                network.contains(&address) || inner.is_some_and(|inner| network.contains(&inner))
            })
            .copied()
    }
}

fn always() -> Vec<IpNet> {
    // lengths written here are within 0..=32 and 0..=128, so `new_assert` cannot panic
    let v4 = |a, b, c, d, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length));
    let v6 = |first, second, last, length| {
        let address = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, last);
        IpNet::V6(Ipv6Net::new_assert(address, length))
    };
    vec![
        // Where clouds tell their machines secrets, as their manuals say:
        v4(169, 254, 169, 254, 32), // AWS, Google, Azure, Oracle, OpenStack and others
        v6(0xfd00, 0xec2, 0x254, 128), // AWS EC2, "instance metadata service"
        v4(169, 254, 170, 2, 32),   // AWS ECS, "task IAM role"
        v4(169, 254, 170, 23, 32),  // AWS EKS, "Pod Identity agent"
        v6(0xfd00, 0xec2, 0x23, 128), // the same
        v6(0xfd20, 0xce, 0x254, 128), // Google Compute Engine, "metadata server" on IPv6
        v4(168, 63, 129, 16, 32),   // Azure, "what is IP address 168.63.129.16"
        v4(100, 100, 100, 200, 32), // Alibaba Cloud ECS, "instance metadata"
        v4(192, 0, 0, 192, 32),     // Oracle Cloud Classic, "instance metadata"
        v4(0, 0, 0, 0, 8),          // unspecified (RFC 1122 §3.2.1.3); Linux connects it to itself
        v6(0, 0, 0, 128),
        v4(224, 0, 0, 0, 4), // multicast
        v6(0xff00, 0, 0, 8),
        v4(255, 255, 255, 255, 32), // broadcast
    ]
}

fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(MAPPED)
        && let Ok(v4) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4);
    }
    network
}

fn behind_nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else {
        return None;
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}
