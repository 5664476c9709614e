//! docs/hsm: what its pages say is there, and the commands of those that can be run lead to a CA.

use std::fs;
use std::path::Path;

use harness::command::text;
use harness::token::P11_KIT_MODULES;
use harness::{Issuer, Token, csr};

use crate::BINARY;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The commands of the blocks that are marked `sh tested`.
fn tested_commands(page: &str) -> String {
    let blocks = page.split("```sh tested\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Runs a page's commands and `kipuka check` with its configuration, with other `places` only.
fn leads_to_a_ca(name: &str, token: &Token, places: &[(&str, &str)]) {
    let root = token.path().display().to_string();
    let (etc, bin) = (token.path().join("etc"), token.path().join("bin"));
    fs::create_dir_all(etc.join("ca")).unwrap();
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(BINARY, bin.join("kipuka")).unwrap();
    let here = |text: &str| {
        let text =
            places.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here));
        text.replace("/var/lib/kipuka", &root).replace("/etc/kipuka", &format!("{root}/etc"))
    };
    let config = here(&read(&format!("config/{name}.toml")));
    fs::write(etc.join("kipuka.toml"), &config).unwrap();
    let commands = here(&tested_commands(&read(&format!("docs/hsm/{name}.md"))));
    assert!(commands.contains("hsm keygen") && commands.contains("--keypairgen"), "{commands}");
    token.shell(&format!("PATH={}:$PATH\n{commands}", bin.display()));

    let line =
        |key| config.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
    let id = format!("{:0>2}", line("hsm_slot"));
    let certificate = token.ca_certificate(&id, "CA", &Issuer::root("root", csr::p256()));
    fs::copy(certificate, line("cert").trim_matches('"')).unwrap();
    let mut check = token.command(BINARY);
    check.arg("--config").arg(etc.join("kipuka.toml")).arg("check");
    check.envs(token.environment().iter().cloned()).env("KIPUKA_HSM_PIN", harness::token::PIN);
    let said = text(&check.output().unwrap());
    assert!(said.contains("test signature verified"), "{said}");
}

#[test]
fn the_commands_for_softhsm2_lead_to_a_ca() {
    let token = Token::empty_softhsm();
    let conf = token.conf().display().to_string();
    leads_to_a_ca("softhsm", &token, &[("/etc/kipuka/softhsm2.conf", &conf)]);
}

#[test]
fn the_commands_for_kryoptic_lead_to_a_ca() {
    let token = Token::empty_kryoptic();
    let conf = token.conf().display().to_string();
    let library = token.library().display().to_string();
    let places = [
        ("/etc/kipuka/kryoptic.conf", &*conf),
        ("/usr/lib/pkcs11/libkryoptic_pkcs11.so", &*library),
        ("kipuka-dev", "kipuka"),
    ];
    leads_to_a_ca("kryoptic", &token, &places);
}

#[test]
fn the_commands_for_a_tpm_lead_to_a_ca() {
    let token = Token::empty_tpm2();
    let store = token.path().join("store").display().to_string();
    let places =
        [("/var/lib/kipuka/tpm2", &*store), ("device:/dev/tpmrm0", "tabrmd:bus_type=session")];
    leads_to_a_ca("tpm2", &token, &places);
}

#[test]
fn the_commands_for_opencryptoki_lead_to_a_ca() {
    leads_to_a_ca("opencryptoki", &Token::empty_opencryptoki(), &[]);
}

#[test]
fn the_commands_for_nss_lead_to_a_ca() {
    leads_to_a_ca("nss", &Token::empty_nss(), &[("/etc/pkcs11/modules", P11_KIT_MODULES)]);
}

#[test]
fn each_page_stands_in_the_table_with_its_library_and_how_far_it_was_tested() {
    let table = read("docs/hsm/README.md");
    let mut pages = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hsm")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".md").filter(|name| *name != "README") else {
            continue;
        };
        let page = read(&format!("docs/hsm/{file}"));
        let row = table.lines().find(|line| line.contains(&format!("({file})"))).unwrap();
        let config = read(&format!("config/{name}.toml"));
        let library = config.lines().find_map(|line| line.strip_prefix("library = ")).unwrap();
        let library = library.trim_matches('"');
        assert!(row.contains(library) && page.contains(library), "{file}: {library}");
        assert!(page.contains(&format!("config/{name}.toml")), "{file} names its configuration");
        for said in ["tested in CI", "documentation, not run"] {
            let page = page.replace("**Tested in CI**", "tested in CI");
            assert_eq!(row.contains(said), page.contains(said), "{file}: {said}");
        }
        pages += 1;
    }
    assert_eq!(pages, table.matches(".md) |").count());
}
