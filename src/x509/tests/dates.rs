//! Which dates a client may ask for, and what becomes of them.

use super::*;
use crate::x509::dates::DatesError;
use crate::x509::lint::LintError;

const DAY: i64 = 24 * 3600;
const VALIDITY: i64 = 10 * DAY;

fn dates(not_before_s: Option<i64>, not_after_s: Option<i64>) -> RequestedDates {
    RequestedDates {
        not_before_s: not_before_s.map(|s| NOW_S + s),
        not_after_s: not_after_s.map(|s| NOW_S + s),
    }
}

#[test]
fn dates_are_taken_where_a_certificate_of_now_could_have_them() {
    let ca = Ca::root(&Key::p256());
    let profile = Profile::tls_server(VALIDITY);
    let issuer = ca.chain.issuer();
    let to_issuers_end = issuer.not_after_s() - NOW_S;
    for (not_before, not_after, expected) in [
        (None, None, Ok(())),
        (Some(-60), None, Ok(())),
        (Some(-61), None, Err(DatesError::Past)),
        (Some(DAY), None, Ok(())),
        (Some(VALIDITY), None, Err(DatesError::TooLate)),
        (Some(100 * VALIDITY), None, Err(DatesError::TooLate)),
        (None, Some(1), Ok(())),
        (None, Some(0), Err(DatesError::Over)),
        (None, Some(-DAY), Err(DatesError::Over)),
        (None, Some(VALIDITY), Ok(())),
        (None, Some(VALIDITY + 1), Err(DatesError::TooLong { validity_s: VALIDITY })),
        (Some(DAY), Some(2 * DAY), Ok(())),
        (Some(2 * DAY), Some(DAY), Err(DatesError::Order)),
        (Some(DAY), Some(DAY), Err(DatesError::Order)),
        (Some(-60), Some(VALIDITY - 61), Ok(())),
        (Some(-60), Some(VALIDITY - 60), Err(DatesError::TooLong { validity_s: VALIDITY })),
        (Some(5 * DAY), Some(VALIDITY + DAY), Err(DatesError::TooLong { validity_s: VALIDITY })),
        (Some(i64::MIN / 2), Some(i64::MAX / 2), Err(DatesError::TooLong { validity_s: VALIDITY })),
    ] {
        let asked = dates(not_before, not_after);
        assert_eq!(asked.check(&profile, issuer, NOW_S), expected, "{not_before:?} {not_after:?}");
    }
    let long = Profile::tls_server(to_issuers_end + 100 * DAY);
    let beyond = dates(None, Some(to_issuers_end + 1));
    assert_eq!(beyond.check(&long, issuer, NOW_S), Err(DatesError::OutsideIssuer));
    assert_eq!(dates(None, Some(to_issuers_end)).check(&long, issuer, NOW_S), Ok(()));
}

#[test]
fn dates_that_were_taken_once_are_had_later_unless_they_are_over_or_the_ca_gives_less() {
    let ca = Ca::root(&Key::p256());
    let issuer = ca.chain.issuer();
    let too_long = |validity_s| Err(DatesError::TooLong { validity_s });
    for (not_before, not_after, validity, later, expected) in [
        (None, Some(VALIDITY), VALIDITY, 600, Ok(())),
        (Some(0), Some(DAY), VALIDITY, 600, Ok(())),
        (Some(0), None, VALIDITY, 600, Ok(())),
        (None, Some(DAY), VALIDITY, DAY, Err(DatesError::Over)),
        (Some(0), None, DAY, 2 * DAY, Err(DatesError::Over)),
        // Not a certificate of one day that begins in weeks.
        (None, Some(VALIDITY), DAY, 600, too_long(DAY)),
        (Some(0), Some(2 * DAY), DAY, DAY, too_long(DAY)),
        (Some(5 * DAY), None, DAY, 600, Err(DatesError::TooLate)),
    ] {
        let asked = dates(not_before, not_after);
        let profile = Profile::tls_server(validity);
        let found = asked.check_again(&profile, issuer, NOW_S + later);
        assert_eq!(found, expected, "{not_before:?} {not_after:?} {validity} {later}");
    }
}

#[test]
fn a_certificate_has_the_dates_that_were_asked_for_also_when_it_is_planned_later() {
    let (ca, key) = (Ca::root(&Key::p256()), Key::p256());
    let profile = Profile::tls_server(VALIDITY);
    let names = names(&["a.test"]);
    let leaf = ca.leaf(&profile, &key.public, &names);
    for (not_before, not_after, later, begins, ends) in [
        (None, None, 0, -60, VALIDITY - 61),
        (None, Some(DAY), 0, -60, DAY),
        (None, Some(DAY), 600, 540, DAY),
        (None, Some(VALIDITY), 0, 1, VALIDITY),
        (None, Some(VALIDITY), 1, 1, VALIDITY),
        (Some(0), None, 0, 0, VALIDITY - 61),
        (Some(0), None, DAY, 0, VALIDITY - 1),
        (Some(DAY), None, 0, DAY, VALIDITY - 61),
        (Some(DAY), Some(2 * DAY), 2 * DAY - 1, DAY, 2 * DAY),
    ] {
        let leaf = Leaf { dates: dates(not_before, not_after), ..leaf };
        let tbs = leaf.tbs(NOW_S + later).unwrap();
        let found = (tbs.not_before_s - NOW_S, tbs.not_after_s - NOW_S);
        assert_eq!(found, (begins, ends), "{not_before:?} {not_after:?} {later}");
        lint(tbs.der, &leaf).unwrap();
    }
}

#[test]
fn the_lint_finds_other_dates_than_those_that_were_asked_for() {
    let (ca, key) = (Ca::root(&Key::p256()), Key::p256());
    let profile = Profile::tls_server(VALIDITY);
    let names = names(&["a.test"]);
    let leaf = ca.leaf(&profile, &key.public, &names);
    let planned = Leaf { dates: dates(Some(0), Some(DAY)), ..leaf }.tbs(NOW_S).unwrap().der;
    for asked in [dates(Some(1), None), dates(None, Some(DAY + 1)), dates(Some(0), Some(DAY - 1))] {
        let errors = lint(planned.clone(), &Leaf { dates: asked, ..leaf }).unwrap_err();
        assert_eq!(errors, [LintError::Dates]);
    }
}
