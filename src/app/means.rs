//! What the system lets this process have: file descriptors, one for each connection.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Limits;

/// For the database, tokens, logs, and for the connections that validation makes.
const RESERVE: u64 = 512;

/// The limits that can be kept: as many connections as there are file descriptors for them, once as many
/// are allowed as the system lets a process allow itself.
pub(super) fn within_means(limits: &Limits) -> Limits {
    let wanted = 2 * u64::from(limits.connections) + RESERVE;
    let (mut soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(both) => both,
        Err(error) => {
            tracing::warn!(%error, "how many file descriptors there are could not be found out");
            return limits.clone();
        }
    };
    // No higher than is needed: some PKCS#11 libraries know the first 1024 alone.
    let raised = wanted.min(hard);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
        soft = raised;
    }
    let connections = connections_within(limits.connections, soft);
    if connections < limits.connections {
        tracing::warn!(
            file_descriptors = soft,
            connections,
            wanted = limits.connections,
            "fewer connections than [limits] allows: raise LimitNOFILE in the unit, or ulimit -n"
        );
    }
    Limits { connections, ..limits.clone() }
}

fn connections_within(wanted: u32, descriptors: u64) -> u32 {
    let left = descriptors - RESERVE.min(descriptors / 2);
    wanted.min(u32::try_from(left).unwrap_or(u32::MAX)).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        for (wanted, descriptors, expected) in [
            (16_384, 1_000_000, 16_384),
            (16_384, 16_896, 16_384),
            (16_384, 16_895, 16_383),
            (16_384, 1024, 512),
            (16_384, 256, 128),
            (100, 1024, 100),
            (16_384, 10, 16),
        ] {
            assert_eq!(connections_within(wanted, descriptors), expected, "{descriptors}");
        }
    }
}
