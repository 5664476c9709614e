//! What may happen in a history.

use super::*;

/// What somebody does. Where it takes one of several, any will do.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// For the names whose bits are set.
    Place {
        client: usize,
        names: usize,
    },
    /// Before any order needs it.
    PreAuthorize {
        client: usize,
        name: usize,
    },
    Begin {
        client: usize,
        which: Index,
        answer: Answer,
    },
    /// By two ways at once, of which one is right.
    BeginTwice {
        client: usize,
        which: Index,
    },
    /// All of one order, rightly.
    BeginAll {
        client: usize,
        which: Index,
    },
    GiveUpAuthorization {
        client: usize,
        which: Index,
    },
    GiveUpAccount {
        client: usize,
    },
    /// To a key that nobody has had, or to that of the client itself or another.
    ChangeKey {
        client: usize,
        to: Option<usize>,
    },
    Finalize {
        client: usize,
        which: Index,
        right: bool,
    },
    /// A worker claims what is due.
    Claim(WorkKind, Fate),
    /// A worker that was slow goes on.
    GoOn(Index),
    /// An instance is killed and starts again.
    Restart,
    Ail(Ailment),
    Wait(u64),
}

/// What the client's server says to the validation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Right,
    Wrong,
    Nothing,
}

/// What becomes of a worker that has claimed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Works,
    /// Between the claim and its settlement.
    Dies,
    /// So slow that its lease may lapse meanwhile.
    Lingers,
}

/// What the signer answers the next time it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ailment {
    Away,
    WrongSignature,
    Lie,
}

/// By which instance what is done, and what the other one does at the same time.
pub(super) type Step = (usize, Act, Option<Act>);

fn act() -> impl Strategy<Value = Act> {
    let client = || 0..CLIENTS;
    let which = any::<Index>;
    let names = prop_oneof![2 => prop::sample::select(vec![1_usize, 2, 4]), 1 => 1_usize..8];
    let answer =
        prop_oneof![6 => Just(Answer::Right), 1 => Just(Answer::Wrong), 1 => Just(Answer::Nothing)];
    let fate =
        || prop_oneof![6 => Just(Fate::Works), 1 => Just(Fate::Dies), 1 => Just(Fate::Lingers)];
    let ailment =
        prop_oneof![Just(Ailment::Away), Just(Ailment::WrongSignature), Just(Ailment::Lie)];
    // Moments, a lease and its like, a day, most and all of an order's lifetime.
    let wait = prop_oneof![9 => 0_u64..4, 6 => 15_u64..25, 1 => Just(90_000), 1 => Just(6 * 86_400), 1 => Just(8 * 86_400)];
    prop_oneof![
        12 => (client(), names).prop_map(|(client, names)| Act::Place { client, names }),
        4 => (client(), 0..NAMES.len()).prop_map(|(client, name)| Act::PreAuthorize { client, name }),
        12 => (client(), which()).prop_map(|(client, which)| Act::BeginAll { client, which }),
        12 => (client(), which(), answer)
            .prop_map(|(client, which, answer)| Act::Begin { client, which, answer }),
        4 => (client(), which()).prop_map(|(client, which)| Act::BeginTwice { client, which }),
        24 => fate().prop_map(|fate| Act::Claim(WorkKind::Validation, fate)),
        20 => (client(), which(), prop::bool::weighted(0.8))
            .prop_map(|(client, which, right)| Act::Finalize { client, which, right }),
        16 => fate().prop_map(|fate| Act::Claim(WorkKind::Issuance, fate)),
        6 => which().prop_map(Act::GoOn),
        2 => (client(), which())
            .prop_map(|(client, which)| Act::GiveUpAuthorization { client, which }),
        1 => client().prop_map(|client| Act::GiveUpAccount { client }),
        4 => (client(), prop::option::weighted(0.2, client()))
            .prop_map(|(client, to)| Act::ChangeKey { client, to }),
        2 => Just(Act::Restart),
        3 => ailment.prop_map(Act::Ail),
        8 => wait.prop_map(Act::Wait),
    ]
}

pub(super) fn history() -> impl Strategy<Value = Vec<Step>> {
    vec((0..2_usize, act(), prop::option::weighted(0.3, act())), 10..40)
}
