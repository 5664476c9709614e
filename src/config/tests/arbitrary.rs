//! Whatever the file holds, it is answered.

use proptest::prelude::*;

use super::*;

fn answered(text: &str) {
    for needs in [Needs::Text, Needs::Token, Needs::Serve] {
        match parse(Path::new("kipuka.toml"), text, &no_env, needs) {
            Ok((config, warnings)) => drop(format!("{config:?} {warnings:?}")),
            Err(errors) => {
                assert!(!errors.mistakes().is_empty());
                assert_eq!(errors.to_string().lines().count(), errors.mistakes().len());
            }
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    let known: Vec<&str> = SECTIONS.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
    prop_oneof![
        4 => prop::sample::select(known).prop_map(str::to_owned),
        1 => "\"[^\"\\\\\\p{Cc}]{0,9}\"",
        1 => "[a-z_.-]{1,9}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i128>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|value| value.to_string()),
        "\"[^\"\\\\\\p{Cc}]{0,40}\"",
        "'(sqlite|postgres|https|0x)[:/a-z0-9@?%.]{0,20}'",
        "'[0-9.:/\\[\\]a-f]{0,20}'",
        Just("2026-01-01".to_owned()),
        Just("\"\\u0000\\n\"".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|all| format!("[{}]", all.join(", "))),
            inner.prop_map(|value| format!("{{ a = {value} }}")),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    let names = SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => prop::sample::select(names.clone()).prop_map(|name| format!("[{name}]")),
        1 => prop::sample::select(names).prop_map(|name| format!("[[{name}]]")),
    ]
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        answered(&text);
    }

    #[test]
    fn any_lines_that_look_right_are_answered(lines in prop::collection::vec(line(), 0..12)) {
        answered(&lines.join("\n"));
    }

    #[test]
    fn any_one_section_is_answered(
        section in prop::sample::select(SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
        pairs in prop::collection::btree_map(key(), value(), 0..6),
    ) {
        let pairs: String = pairs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let header = suggest::header(section);
        answered(&format!("{header}\n{pairs}"));
    }
}

#[test]
fn depth_does_not_end_the_process() {
    for (open, count) in [("[", 100_000), ("a.", 100_000), ("{a=", 100_000)] {
        answered(&format!("x = {}", open.repeat(count)));
        answered(&format!("{}b = 1", open.repeat(count)));
        answered(&format!("[{}b]\n", open.repeat(count)));
    }
}
