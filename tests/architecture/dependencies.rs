//! What cargo-deny cannot say: the product's own tree, as Cargo builds it without the tests.

use std::process::Command;

use crate::top;

#[test]
fn openssl_is_the_only_crypto_back_end_of_the_product() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "kipuka", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"openssl"), "{tree}");
    for other in ["ring", "aws-lc-rs", "aws-lc-sys"] {
        let asked = format!("cargo tree -p kipuka -e normal,build -i {other}");
        assert!(!names.contains(&other), "{other} is in the product: see `{asked}`");
    }
}
