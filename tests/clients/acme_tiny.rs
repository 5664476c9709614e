//! acme-tiny: two hundred lines of Python around OpenSSL, for http-01 alone.

use crate::{leaf, run, server};

#[tokio::test(flavor = "multi_thread")]
async fn acme_tiny_issues_and_renews_with_http_01() {
    let server = server().await;
    let acme_tiny = "SSL_CERT_FILE=$ROOT acme-tiny --account-key $FOLDER/account.key --csr $FOLDER/www.csr \
                     --acme-dir $SHOWN/http-01 --directory-url $DIRECTORY --disable-check \
                     --contact mailto:admin@example.test >$FOLDER/www.pem";
    let prepare = "openssl genrsa -out $FOLDER/account.key 2048
                   openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                     -keyout $FOLDER/www.key -out $FOLDER/www.csr -subj / \
                     -addext subjectAltName=DNS:www.example.test,DNS:example.test";
    let certificate = || leaf(&server, "www.pem", &["www.example.test", "example.test"]);
    run(&server, &format!("{prepare}\n{acme_tiny}"));
    let first = certificate();
    run(&server, acme_tiny);
    assert_ne!(first.to_der().unwrap(), certificate().to_der().unwrap());
}
