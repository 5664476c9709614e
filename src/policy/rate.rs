//! How much an account may have and ask, by `[limits]` (RFC 8555 §6.6).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::acme::problem::Problem;
use crate::acme::usage::{FailedName, Usage, WINDOW};
use crate::clock::Timestamp;
use crate::config::Limits;

/// Of IPv6, what one customer has: many have more, none has less.
const IPV6_PREFIX: u8 = 64;
/// When to ask again where it is the client that must bring something to its end.
const UNFINISHED: Duration = Duration::from_secs(600);

/// The network that stands for the client at this address: all of its addresses count as one.
pub(crate) fn network_of(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Net::from(address).into(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, IPV6_PREFIX).trunc().into(),
    }
}

/// Whether an account may have another order, where there is one, with this many new authorizations.
///
/// # Errors
/// The limit that is reached, and when to come again.
pub(crate) fn check_usage(
    limits: &Limits,
    usage: &Usage,
    (new_orders, new_authorizations): (i64, i64),
    now: Timestamp,
) -> Result<(), Problem> {
    let over = |used: i64, new: i64, limit: u32| {
        limit > 0 && new > 0 && used.saturating_add(new) > i64::from(limit)
    };
    if over(usage.orders, new_orders, limits.orders_per_account_per_hour) {
        return Err(Problem::rate_limited(
            &format!("the account has placed {} orders within an hour", usage.orders),
            "orders_per_account_per_hour",
            usage.first_order_at.map_or(WINDOW, |first| out_of_window(first, now)),
        ));
    }
    if over(usage.pending_orders, new_orders, limits.pending_orders_per_account) {
        return Err(Problem::rate_limited(
            &format!(
                "the account has {} orders that it has not brought to an end",
                usage.pending_orders
            ),
            "pending_orders_per_account",
            UNFINISHED,
        ));
    }
    let pending = usage.pending_authorizations;
    if over(pending, new_authorizations, limits.pending_authorizations_per_account) {
        return Err(Problem::rate_limited(
            &format!(
                "the account has {pending} pending authorizations and would get \
                 {new_authorizations} more: answer their challenges, or deactivate them"
            ),
            "pending_authorizations_per_account",
            UNFINISHED,
        ));
    }
    let failed = usage
        .failed
        .iter()
        .find(|failed| over(failed.times, 1, limits.failed_validations_per_hour));
    match failed {
        None => Ok(()),
        Some(FailedName { identifier, times, first_at }) => Err(Problem::rate_limited(
            &format!(
                "validations of {identifier} have failed {times} times within an hour for the account"
            ),
            "failed_validations_per_hour",
            out_of_window(*first_at, now),
        )),
    }
}

/// That an address has made as many accounts as it may.
pub(crate) fn too_many_accounts(made: i64, first_at: Option<Timestamp>, now: Timestamp) -> Problem {
    Problem::rate_limited(
        &format!("{made} accounts were made from this address within an hour"),
        "accounts_per_address_per_hour",
        first_at.map_or(WINDOW, |first| out_of_window(first, now)),
    )
}

/// How long it takes until what was then no longer counts.
fn out_of_window(then: Timestamp, now: Timestamp) -> Duration {
    then.plus(WINDOW).since(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::problem::ProblemType;

    const NOW: Timestamp = Timestamp::from_unix_s(1_800_000_000);

    fn limits() -> Limits {
        Limits {
            orders_per_account_per_hour: 10,
            pending_orders_per_account: 5,
            pending_authorizations_per_account: 20,
            failed_validations_per_hour: 3,
            ..Limits::default()
        }
    }

    fn refusal(usage: &Usage, new: (i64, i64)) -> Option<(String, u32)> {
        let problem = check_usage(&limits(), usage, new, NOW).err()?;
        assert_eq!((problem.kind, problem.status), (ProblemType::RateLimited, 429));
        let key = problem.detail.split(['(', ' ']).find(|word| word.contains('_')).unwrap();
        Some((key.to_owned(), problem.retry_after_s.unwrap()))
    }

    fn failed(times: i64) -> Vec<FailedName> {
        let first_at = NOW.minus(Duration::from_secs(3000));
        vec![FailedName { identifier: "a.test".to_owned(), times, first_at }]
    }

    #[test]
    fn each_limit_is_told_of_by_its_key_and_with_the_time_to_wait() {
        let first_order_at = Some(NOW.minus(Duration::from_millis(3_540_500)));
        for (usage, new, expected) in [
            (Usage { orders: 9, first_order_at, ..Usage::default() }, (1, 1), None),
            (
                Usage { orders: 10, first_order_at, ..Usage::default() },
                (1, 1),
                Some(("orders_per_account_per_hour", 60)),
            ),
            (Usage { pending_orders: 4, ..Usage::default() }, (1, 1), None),
            (
                Usage { pending_orders: 5, ..Usage::default() },
                (1, 0),
                Some(("pending_orders_per_account", 600)),
            ),
            (Usage { pending_authorizations: 18, ..Usage::default() }, (1, 2), None),
            (
                Usage { pending_authorizations: 18, ..Usage::default() },
                (1, 3),
                Some(("pending_authorizations_per_account", 600)),
            ),
            // Nothing new, nothing to refuse.
            (Usage { pending_authorizations: 100, ..Usage::default() }, (1, 0), None),
            (Usage { orders: 100, pending_orders: 100, ..Usage::default() }, (0, 1), None),
            (Usage { failed: failed(2), ..Usage::default() }, (1, 1), None),
            (
                Usage { failed: failed(3), ..Usage::default() },
                (1, 1),
                Some(("failed_validations_per_hour", 600)),
            ),
        ] {
            let expected = expected.map(|(key, seconds)| (key.to_owned(), seconds));
            assert_eq!(refusal(&usage, new), expected, "{usage:?}");
        }
    }

    #[test]
    fn where_a_limit_is_0_there_is_none() {
        let none = Limits {
            orders_per_account_per_hour: 0,
            pending_orders_per_account: 0,
            pending_authorizations_per_account: 0,
            failed_validations_per_hour: 0,
            ..Limits::default()
        };
        let usage = Usage {
            orders: i64::MAX,
            first_order_at: Some(NOW),
            pending_orders: i64::MAX,
            pending_authorizations: i64::MAX,
            failed: failed(i64::MAX),
        };
        assert_eq!(check_usage(&none, &usage, (1, 1), NOW), Ok(()));
    }

    #[test]
    fn the_addresses_of_one_client_are_one_network() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ] {
            assert_eq!(network_of(address.parse().unwrap()).to_string(), network);
        }
    }
}
