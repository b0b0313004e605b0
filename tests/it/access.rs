//! Access: credentials, TLS, and the refusals of strangers.

mod guarded;
mod held;
mod local;
mod roles;
mod shares;
mod streams;
mod tls;

use std::fs;
use std::net::TcpListener;

use crate::support::server::{Server, program, refused, run, serve_args, text};
use crate::support::{AUTO, Workspace};
use guarded::{Identities, credential};

#[test]
fn p8_a_stranger_who_could_come_in_is_not_served() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (models, data) = (workspace.models(), workspace.data());
    for (flag, address) in [("--listen", "0.0.0.0:0"), ("--http", "[::]:0")] {
        let mut args = serve_args(&models, &data).to_vec();
        let place = args.iter().position(|one| *one == flag).expect("the flag");
        args[place + 1] = address;
        refused(
            &args,
            "is not of this machine alone, and nothing says who may call",
        );
        refused(&args, "perennial token NAME --scope predict");
    }
    let lone = [
        &serve_args(&models, &data)[..],
        &["--certificate", "nowhere.pem"],
    ]
    .concat();
    refused(&lone, "certificate: nowhere.pem: No such file or directory");
}

/// A folder of keys, tokens and credentials.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new(identities: &Identities) -> Keys {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys { folder };
        let (certificate, key) = &identities.server;
        keys.write("cert.pem", certificate);
        keys.write("key.pem", key);
        keys.write("ca.pem", &identities.ca);
        keys
    }

    fn at(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.at(name), content).expect("a file");
        self.at(name)
    }

    /// Makes a token by the program; the file that it lies in.
    fn token(&self, name: &str, rights: &[&str]) -> String {
        let credentials = self.at("credentials.toml");
        let args = ["token", name, "--credentials", &credentials];
        let (token, _) = run(&[&args, rights].concat(), 0);
        self.write(name, &token)
    }
}

const SET: [&str; 6] = ["--set", "x=1", "--set", "y=2", "--set", "c=red"];

/// A server over TLS, and how it is asked.
struct Secured {
    keys: Keys,
    url: String,
    server: Server,
    _workspace: Workspace,
}

impl Secured {
    fn start() -> Secured {
        let workspace = Workspace::new(&[("m", AUTO), ("other", AUTO)]);
        let keys = Keys::new(&Identities::new());
        keys.token("caller", &["--scope", "predict", "--model", "m"]);
        keys.token("operator", &["--scope", "operate,observe,predict"]);
        let files = ["credentials.toml", "cert.pem", "key.pem"].map(|name| keys.at(name));
        let server = Server::start_with(&workspace.models(), &workspace.data(), |command| {
            let flags = ["--credentials", "--certificate", "--key"];
            for (flag, file) in flags.iter().zip(&files) {
                command.args([flag, file.as_str()]);
            }
        });
        let port = server.address.rsplit_once(':').expect("a port").1;
        Secured {
            url: format!("https://localhost:{port}"),
            keys,
            server,
            _workspace: workspace,
        }
    }

    /// The text of a command on stdout and stderr, asking with a token.
    fn ask(&self, token: &str, args: &[&str], code: i32) -> (String, String) {
        let (ca, token) = (self.keys.at("ca.pem"), self.keys.at(token));
        let access = ["--server", &self.url, "--ca", &ca, "--token-file", &token];
        run(&[args, &access].concat(), code)
    }
}

#[test]
fn p8_a_token_and_a_certificate_serve_a_client_over_tls() {
    let secured = Secured::start();
    let predict = |model| [&["predict", model], &SET[..]].concat();
    secured.ask("caller", &predict("m"), 0);
    let refused = |args: &[&str], expected: &str| {
        let (_, refusal) = secured.ask("caller", args, 1);
        assert!(refusal.contains(expected), "{refusal}");
    };
    refused(&predict("other"), "no model \"other\": this server has m");
    refused(
        &["checkpoint", "m"],
        "the credential \"caller\" lacks the scope for this: operate",
    );
    secured.ask("operator", &["checkpoint", "m", "--note", "by hand"], 0);
    let (versions, _) = secured.ask("operator", &["versions", "m", "--json"], 0);
    let made = versions.lines().find(|line| line.contains("by hand"));
    let made = made.expect("the version");
    assert!(made.contains("\"actor\":\"operator\""), "{versions}");
    // A token that is taken out of the file holds no longer, within seconds and without a restart.
    let credentials = secured.keys.at("credentials.toml");
    let all = fs::read_to_string(&credentials).expect("the file");
    let operators = all.rfind("[[credential]]").expect("the last one");
    fs::write(&credentials, &all[..operators]).expect("the file");
    let (ca, token) = (secured.keys.at("ca.pem"), secured.keys.at("operator"));
    let args = [
        "status",
        "--server",
        &secured.url,
        "--ca",
        &ca,
        "--token-file",
        &token,
    ];
    let mut refusals = std::iter::repeat_with(|| {
        let output = program(&args).output().expect("it runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    });
    let mut refusals = refusals.by_ref().take(1_000);
    assert!(
        refusals.any(|refusal| refusal.contains("the token is not known")),
        "it still holds"
    );
    secured.ask("caller", &predict("m"), 0);
    secured.server.stop();
}

#[test]
fn p9_a_client_that_goes_the_wrong_way_is_told_the_right_one() {
    let secured = Secured::start();
    let (ca, token) = (secured.keys.at("ca.pem"), secured.keys.at("operator"));
    let says = |args: &[&str], expected: &str| {
        let (_, refusal) = run(&[&["status"], args].concat(), 1);
        assert!(refusal.contains(expected), "{refusal}");
    };
    let (plain, url) = (&secured.server.address, &secured.url);
    let expected = "where the server speaks TLS, write --server https://HOST:PORT";
    says(&["--server", plain], expected);
    let expected = "over TLS: invalid peer certificate";
    let strangers = secured.keys.write("strangers.pem", &Identities::new().ca);
    says(&["--server", url, "--ca", &strangers], expected);
    let expected = "no credential came: send the header authorization: Bearer TOKEN";
    says(&["--server", url, "--ca", &ca], expected);
    let expected = "--ca: of use with --server https://HOST:PORT alone";
    says(&["--server", plain, "--ca", &ca], expected);
    let expected = "expected certificates and a key as PEM";
    says(
        &["--server", url, "--ca", &ca, "--identity", &token],
        expected,
    );
    let expected = "--token-file nowhere: No such file or directory";
    says(
        &["--server", url, "--ca", &ca, "--token-file", "nowhere"],
        expected,
    );
    secured.server.stop();
}

#[test]
fn p9_keys_that_do_not_belong_together_are_told_before_anything_is_served() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (models, data) = (workspace.models(), workspace.data());
    let identities = Identities::new();
    let keys = Keys::new(&identities);
    let other = keys.write("other.pem", &identities.client.1);
    let (old, old_key) = identities.expired();
    let (old, old_key) = (
        keys.write("old.pem", &old),
        keys.write("old-key.pem", &old_key),
    );
    let nothing = keys.write("nothing.pem", "");
    let admin = "[[credential]]\nname = \"a\"\nscopes = [\"admin\"]\n";
    let broken = keys.write("credentials.toml", admin);
    let check = |args: &[&str], expected: &str| {
        refused(&[&serve_args(&models, &data)[..], args].concat(), expected);
    };
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| keys.at(name));
    let pair = |cert, key| ["--certificate", cert, "--key", key];
    let lone = "key: missing; a certificate is of no use without its key";
    check(&["--certificate", &cert], lone);
    let lone = "certificate: missing; a key is of no use without its certificate";
    check(&["--key", &key], lone);
    check(&pair(&cert, &other), "certificate and key: ");
    let none = "certificate: no certificate in it, expected PEM";
    check(&pair(&nothing, &key), none);
    check(&pair(&cert, &nothing), "expected a private key as PEM");
    check(
        &pair(&old, &old_key),
        "certificate: it expired at 2001-01-01",
    );
    let (early, early_key) = identities.early();
    let early = keys.write("early.pem", &early);
    let early_key = keys.write("early-key.pem", &early_key);
    check(
        &pair(&early, &early_key),
        "certificate: it holds from 2200-01-01",
    );
    let alone = "client_ca: it takes a certificate and a key of the server";
    check(&["--client-ca", &ca], alone);
    let nobody = "client_ca: nothing says what the holders of client certificates may do";
    check(
        &[&pair(&cert, &key)[..], &["--client-ca", &ca]].concat(),
        nobody,
    );
    check(&["--credentials", &broken], "unknown variant `admin`");
    let folder = text(keys.folder.path());
    check(
        &["--credentials", folder],
        "a folder, expected a regular file",
    );
    // A port in use is reported as well.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut args = serve_args(&models, &data);
    args[6] = &address;
    refused(&args, "cannot listen there");
}

#[test]
fn p9_a_file_of_credentials_says_what_is_wrong_with_it() {
    let check = |file: &str, expected: &str| {
        let refusal = perennial::server::check_credentials(file)
            .expect_err(file)
            .to_string();
        assert!(refusal.contains(expected), "{refusal}");
    };
    let good = credential("a", "x", &["predict"], "");
    perennial::server::check_credentials(&good).expect("it is one");
    let with = |line: &str| credential("a", "x", &["predict"], line);
    let without = |key: &str| {
        let lines = good.lines().filter(|line| !line.starts_with(key));
        lines.collect::<Vec<_>>().join("\n")
    };
    check(&with("model = \"m\""), "; did you mean `models`?");
    check(&with("models = []"), "credential \"a\": models: none");
    check(
        &with("source = \"\""),
        "credential \"a\": source: 0 bytes, expected 1 to 256",
    );
    check(
        &with("certificate = \"a\""),
        "expected either token or certificate",
    );
    check(&without("token"), "expected either token or certificate");
    check(&without("expires"), "expires: missing; a token has an end");
    check(&without("scopes"), "missing field `scopes`");
    check(
        &good.replace("\"predict\"", ""),
        "scopes: none, expected some of predict, feedback",
    );
    check(&good.replace("2100", "soon"), "expected a time as in");
    check(
        &good.replace("token = \"", "token = \"0"),
        "token: expected the BLAKE3 digest",
    );
    check(
        &good.replace("\"a\"", "\"10.0.0.1\""),
        "name: \"10.0.0.1\", expected a letter",
    );
    check(
        &format!("{good}{}", good.replace("\"a\"", "\"b\"")),
        "credential \"b\": \"a\" has the same proof",
    );
    check(
        &format!("{good}{good}"),
        "credential \"a\": the name stands twice",
    );
}
