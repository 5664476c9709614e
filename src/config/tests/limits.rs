//! `[limits]`.

use super::*;
use crate::config::{Limits, ProxyHeader};

fn limits(lines: &str) -> String {
    format!("[limits]\n{lines}\n")
}

#[test]
fn a_section_that_is_missing_or_empty_is_all_defaults() {
    assert_eq!(good("").limits, Limits::default());
    assert_eq!(good(&limits("")).limits, Limits::default());
}

#[test]
fn what_is_set_is_taken_and_0_is_no_limit() {
    let read = good(&limits(
        "connections = 16\nrequests_per_second_per_account = 0\nat_once_per_account = 1\n\
         exempt_networks = []\ntrusted_proxies = [\"10.0.0.7/8\", \"fd00::1\"]\n\
         proxy_header = \"x-forwarded-for\"",
    ))
    .limits;
    let expected = Limits {
        connections: 16,
        requests_per_second_per_account: 0,
        at_once_per_account: 1,
        exempt_networks: Vec::new(),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::1/128".parse().unwrap()],
        proxy_header: ProxyHeader::ForwardedFor,
        ..Limits::default()
    };
    assert_eq!(read, expected);
}

#[test]
fn what_cannot_be_a_limit_is_told_with_what_could() {
    for (line, key, said) in [
        ("connections = 0", "connections", "from 16 to 1000000"),
        ("connections = -1", "connections", "out of range"),
        ("connections = \"many\"", "connections", "wants an integer"),
        ("requests_burst_per_address = 0", "requests_burst_per_address", "from 1 to"),
        ("pending_orders_per_account = 100001", "pending_orders_per_account", "from 0 to 100000"),
        ("at_once_per_account = 0", "at_once_per_account", "from 1 to 128"),
        ("at_once_per_account = 129", "at_once_per_account", "from 1 to 128"),
        ("exempt_networks = \"10.0.0.0/8\"", "exempt_networks", "wants an array"),
        ("exempt_networks = [\"10.0.0.0/33\"]", "exempt_networks", "is not a network"),
        ("trusted_proxies = [\"lb.test\"]", "trusted_proxies", "is not a network"),
        ("proxy_header = \"forwarded\"", "proxy_header", "\"x-forwarded-for\""),
        (
            "order_per_account_per_hour = 1",
            "order_per_account_per_hour",
            "orders_per_account_per_hour",
        ),
    ] {
        assert_wrong(&limits(line), 2, &format!("limits.{key}"), said);
    }
}

#[test]
fn what_is_remembered_how_long_has_bounds() {
    let database = |lines: &str| format!("[database]\n{lines}\n");
    let day = std::time::Duration::from_secs(24 * 3600);
    let read = good("").database;
    assert_eq!((read.keep, read.keep_unfinished), (400 * day, 30 * day));
    let read = good(&database("keep_days = 30\nkeep_unfinished_days = 1")).database;
    assert_eq!((read.keep, read.keep_unfinished), (30 * day, day));
    for (line, key) in [
        ("keep_days = 29", "keep_days"),
        ("keep_days = 36501", "keep_days"),
        ("keep_unfinished_days = 0", "keep_unfinished_days"),
    ] {
        assert_wrong(&database(line), 2, &format!("database.{key}"), "out of range");
    }
}
