//! Which file is the configuration.

use std::path::{Path, PathBuf};

use super::{Env, Errors};

const USUAL: [&str; 2] = ["./kipuka.toml", "/etc/kipuka/kipuka.toml"];

/// The file to [`super::load`]: `explicit` (`--config`), else `$KIPUKA_CONFIG`, else
/// `./kipuka.toml`, else `/etc/kipuka/kipuka.toml`.
///
/// # Errors
/// The file is not there: one line that says where it was looked for.
pub(crate) fn find(explicit: Option<PathBuf>, env: &Env<'_>) -> Result<PathBuf, Errors> {
    find_among(explicit, env, &USUAL.map(Path::new))
}

fn find_among(
    explicit: Option<PathBuf>,
    env: &Env<'_>,
    usual: &[&Path],
) -> Result<PathBuf, Errors> {
    let named = explicit.map(|path| (path, "--config")).or_else(|| {
        let path = env("KIPUKA_CONFIG").filter(|path| !path.is_empty())?;
        Some((PathBuf::from(path), "KIPUKA_CONFIG"))
    });
    if let Some((path, source)) = named {
        if path.exists() {
            return Ok(path);
        }
        let what = format!("there is no such file; {source} names it");
        return Err(Errors::whole_file(&path, what, "create it or name another one"));
    }
    if let Some(path) = usual.iter().find(|path| path.exists()) {
        return Ok(path.to_path_buf());
    }
    let looked: Vec<String> = usual.iter().map(|path| path.display().to_string()).collect();
    Err(Errors::whole_file(
        Path::new("kipuka.toml"),
        format!(
            "there is no configuration: --config and KIPUKA_CONFIG are not set, and neither {} is \
             there",
            looked.join(" nor ")
        ),
        "write one (config/kipuka.toml has every key), or try kipuka out with `kipuka dev`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_named_first_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let (option, variable, here, etc) = (file("o"), file("v"), file("h"), file("e"));
        let env = |_: &str| Some(variable.display().to_string());
        let gone = folder.path().join("gone");

        let found = find_among(Some(option.clone()), &env, &[&here, &etc]);
        assert_eq!(found.unwrap(), option);
        assert_eq!(find_among(None, &env, &[&here, &etc]).unwrap(), variable);
        assert_eq!(find_among(None, &|_| None, &[&here, &etc]).unwrap(), here);
        assert_eq!(find_among(None, &|_| Some(String::new()), &[&gone, &etc]).unwrap(), etc);
    }

    #[test]
    fn a_missing_file_says_where_it_was_looked_for() {
        let gone = Path::new("/gone/kipuka.toml");
        let error = find_among(Some(gone.into()), &|_| None, &[]).unwrap_err().to_string();
        assert!(error.starts_with("/gone/kipuka.toml: there is no such file"), "{error}");
        assert!(error.contains("--config"), "{error}");
        let env = |name: &str| (name == "KIPUKA_CONFIG").then(|| "/gone/too".to_owned());
        let error = find_among(None, &env, &[]).unwrap_err().to_string();
        assert!(error.contains("KIPUKA_CONFIG") && error.contains("/gone/too"), "{error}");
        let usual = [gone, Path::new("/gone/etc/kipuka.toml")];
        let error = find_among(None, &|_| None, &usual).unwrap_err().to_string();
        assert!(error.contains("/gone/kipuka.toml nor /gone/etc/kipuka.toml"), "{error}");
    }
}
