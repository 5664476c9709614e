use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(log: &Log, env: &Env<'_>, what: impl FnOnce(&Handle<EnvFilter, Registry>)) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let filter = filter(log, env).unwrap();
    let (subscriber, handle) = subscriber(log.format, filter, false, move || writer.clone(), None);
    tracing::subscriber::with_default(subscriber, || what(&handle));
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn two_lines(_: &Handle<EnvFilter, Registry>) {
    tracing::debug!("a detail");
    tracing::info!(order.id = "o1", "the order is ready");
}

fn json() -> Log {
    Log { format: LogFormat::Json, ..Log::default() }
}

fn one_object(text: &str) -> Value {
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn json_is_one_object_a_line_with_the_fields_at_its_top() {
    let line = one_object(&logged(&json(), &|_| None, two_lines));
    assert_eq!(line["message"], "the order is ready");
    assert_eq!(line["order.id"], "o1");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], "kipuka::telemetry::logging::tests");
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn the_variable_overrides_the_configured_level() {
    let text = logged(&Log::default(), &|_| None, two_lines);
    assert!(text.contains("the order is ready order.id=\"o1\""), "{text}");
    assert!(!text.contains("a detail"), "{text}");
    let env = |name: &str| (name == "KIPUKA_LOG").then(|| "debug".to_owned());
    assert!(logged(&Log::default(), &env, two_lines).contains("a detail"));
}

#[test]
fn a_wrong_variable_is_an_error_that_names_it() {
    let env = |_: &str| Some("kipuka=loud".to_owned());
    let error = filter(&Log::default(), &env).unwrap_err().to_string();
    assert!(error.contains("KIPUKA_LOG"), "{error}");
}

#[test]
fn each_line_inside_a_span_has_its_fields_and_the_nearest_counts() {
    let text = logged(&json(), &|_| None, |_| {
        let request = tracing::error_span!(
            "request",
            request_id = "r1",
            order.id = tracing::field::Empty,
            account.id = "outer",
            http.route = "/not/shown",
        );
        let _request = request.enter();
        request.record("order.id", "o1");
        let work = tracing::error_span!("work", account.id = "inner", attempt = 2);
        let _work = work.enter();
        tracing::info!(attempt = 3, "done");
    });
    let line = one_object(&text);
    for (name, value) in [("request_id", "r1"), ("order.id", "o1"), ("account.id", "inner")] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!(line["attempt"], 3);
    assert_eq!(line.get("http.route"), None);
    assert_eq!(text.matches("\"account.id\"").count(), 1, "{text}");
}

/// Spans are errors to the filter, so that even the one line that a quiet log has tells of its request.
#[test]
fn a_quiet_log_has_the_fields_of_spans_as_well() {
    let log = Log { level: "warn".to_owned(), ..json() };
    let text = logged(&log, &|_| None, |_| {
        let _request = tracing::error_span!("request", request_id = "r1").entered();
        tracing::info!("not this");
        tracing::warn!("this");
    });
    assert_eq!(one_object(&text)["request_id"], "r1");
}

#[test]
fn nothing_that_a_stranger_sends_makes_a_line_of_its_own() {
    let forged = "x\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\n\u{1b}[31m\u{2028}\0";
    let line = |format| {
        logged(&Log { format, ..Log::default() }, &|_| None, |_| {
            let error = io::Error::other(forged);
            let _span = tracing::error_span!("request", contact = forged).entered();
            tracing::info!(as_text = forged, as_display = %forged, as_debug = ?forged, %error, "{forged}");
        })
    };
    let text = line(LogFormat::Text);
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    let text = line(LogFormat::Json);
    assert!(!text.trim_end().contains(|c: char| c.is_control()), "{text:?}");
    let object = one_object(&text);
    for name in ["message", "as_text", "as_display", "error", "contact"] {
        assert_eq!(object[name], forged, "{name}");
    }
}

#[test]
fn what_is_too_long_is_cut_off_between_characters() {
    let long = "ü".repeat(100_000);
    let text = logged(&json(), &|_| None, |_| tracing::info!(path = long, "request"));
    assert!(text.len() < 4500, "{}", text.len());
    assert!(one_object(&text)["path"].as_str().unwrap().ends_with("ü…"));
}

#[test]
fn the_level_changes_while_the_log_runs() {
    let log = Log { level: "warn".to_owned(), ..Log::default() };
    let text = logged(&log, &|_| None, |handle| {
        let mut logging = Logging {
            filter: handle.clone(),
            overridden: false,
            log: log.clone(),
            _traces: None,
            _gathering: None,
        };
        tracing::debug!("before");
        logging.reload(&Log { level: "debug".to_owned(), ..log.clone() });
        tracing::debug!("after");
        logging.reload(&Log { level: "error".to_owned(), ..log.clone() });
        tracing::info!("quiet again");
    });
    assert!(text.contains("after") && !text.contains("before"), "{text}");
    assert!(!text.contains("quiet again"), "{text}");
}

#[test]
fn the_level_of_the_variable_stays() {
    let env = |name: &str| (name == "KIPUKA_LOG").then(|| "info".to_owned());
    let text = logged(&Log::default(), &env, |handle| {
        let log = Log::default();
        let mut logging = Logging {
            filter: handle.clone(),
            overridden: true,
            log: log.clone(),
            _traces: None,
            _gathering: None,
        };
        logging.reload(&Log { level: "debug".to_owned(), ..log });
        tracing::debug!("a detail");
    });
    assert!(text.contains("KIPUKA_LOG") && !text.contains("a detail"), "{text}");
}
