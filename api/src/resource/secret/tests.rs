use std::time::Duration;

use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use super::*;
use crate::{Resource, document, proto};

struct Issued {
    chain: String,
    key: String,
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    authority_called("An authority")
}

fn authority_called(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// A revocation list of `issuer`, to be renewed at the end of `year`.
fn list(issuer: &Issuer<'static, KeyPair>, year: i32) -> String {
    let params = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(year, 12, 31),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: 7.into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().pem().unwrap()
}

fn bundle(certificates: &str, crls: Option<&str>) -> v1::Secret {
    v1::Secret {
        name: "clients".into(),
        kind: Some(v1::secret::Kind::Ca(v1::CaBundle {
            certificates: certificates.into(),
            crls: crls.map(Into::into),
            ..v1::CaBundle::default()
        })),
        ..v1::Secret::default()
    }
}

fn issued(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let (issuer, root) = authority();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "api.example.com");
    change(&mut params);
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    Issued {
        chain: format!("{leaf}{root}"),
        key: key.serialize_pem(),
    }
}

fn certificate(chain: &str, private_key: &str) -> v1::Secret {
    v1::Secret {
        name: "web".into(),
        kind: Some(v1::secret::Kind::Certificate(v1::Certificate {
            chain: chain.into(),
            private_key: private_key.into(),
            ocsp_response: None,
        })),
        ..v1::Secret::default()
    }
}

fn faults(message: v1::Secret) -> String {
    let faults = Secret::read(message).map(|_| ()).unwrap_err();
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn a_certificate_with_its_key_and_chain_is_taken_and_says_whom_it_is_for() {
    let issued = issued(&["api.example.com", "*.example.com", "10.0.0.1"], |_| {});
    let secret = Secret::read(certificate(&issued.chain, &issued.key)).unwrap();
    let SecretKind::Certificate(certificate) = &secret.kind else {
        panic!("not a certificate: {secret:?}");
    };
    let leaf = certificate.leaf().unwrap();
    assert_eq!(
        leaf.dns_names,
        ["api.example.com".into(), "*.example.com".into()].into()
    );
    assert_eq!(leaf.other_names, ["IP:10.0.0.1".into()].into());
    assert_eq!(&*leaf.issuer, "CN=An authority");
    assert_eq!(certificate.certified.cert.len(), 2);
}

#[test]
fn a_key_of_another_certificate_is_refused_and_never_quoted() {
    let one = issued(&["a.example.com"], |_| {});
    let other = KeyPair::generate_for(&PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    let told = faults(certificate(&one.chain, &other));
    assert!(
        told.contains("private_key: is not the key of the first certificate"),
        "{told}"
    );
    let secret = other.lines().nth(1).unwrap();
    assert!(!told.contains(secret), "{told}");
}

#[test]
fn chains_out_of_order_say_which_did_not_issue_which() {
    let one = issued(&["a.example.com"], |_| {});
    let other = issued(&["b.example.com"], |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "b.example.com");
    });
    let chain = format!("{}{}", one.chain, other.chain);
    let told = faults(certificate(&chain, &one.key));
    assert!(
        told.contains("certificate 3 (CN=b.example.com) did not issue"),
        "{told}"
    );
}

#[test]
fn what_is_no_pem_says_what_is_missing() {
    let one = issued(&["a.example.com"], |_| {});
    let cases = [
        (certificate("", ""), "chain: is missing"),
        (
            certificate("hello", &one.key),
            "chain: holds no certificate",
        ),
        (
            certificate(
                &one.chain
                    .trim_end()
                    .replace("-----END CERTIFICATE-----", ""),
                &one.key,
            ),
            "chain: certificate 1 is no PEM: the block is not closed: `-----END CERTIFICATE-----` is missing",
        ),
        (
            certificate("-----BEGIN CERTIFICATE\nAA==\n", &one.key),
            "chain: certificate 1 is no PEM: a line that begins with `-----BEGIN`",
        ),
        (certificate(&one.chain, ""), "private_key: is missing"),
        (
            certificate(&one.chain, "hello"),
            "private_key: holds no private key",
        ),
        (
            certificate(&one.chain, "[redacted sha256:00]"),
            "is only the sign",
        ),
        (
            certificate(
                &one.chain,
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            ),
            "has a passphrase",
        ),
        (
            v1::Secret {
                name: "web".into(),
                ..v1::Secret::default()
            },
            "give `certificate` or `ca`",
        ),
    ];
    for (message, expected) in cases {
        let told = faults(message);
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn an_expired_certificate_is_told_with_its_time_and_stays_what_it_is() {
    let one = issued(&["a.example.com"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let secret = Secret::read(certificate(&one.chain, &one.key)).unwrap();
    let faults = secret.unusable(SystemTime::now());
    assert_eq!(faults.len(), 1);
    assert_eq!(
        faults[0].to_string(),
        "secrets/web: certificate.chain: the certificate of CN=api.example.com expired at 2021-01-01T00:00:00Z: put a newer one in its place"
    );
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    assert!(secret.unusable(then).is_empty());
}

#[test]
fn authorities_are_read_all_of_them() {
    let pem: String = (0..3).map(|_| authority().1).collect();
    let secret = Secret::read(bundle(&pem, None)).unwrap();
    let SecretKind::Ca(bundle) = &secret.kind else {
        panic!("not a bundle: {secret:?}");
    };
    assert_eq!((bundle.roots.len(), bundle.facts.len()), (3, 3));
    assert!(bundle.revocation.is_none());
}

#[test]
fn revocation_lists_say_whose_they_are_and_are_not_taken_past_their_time() {
    let (issuer, root) = authority();
    let lists = list(&issuer, 2999) + &list(&issuer, 2021);
    let secret = Secret::read(bundle(&root, Some(&lists))).unwrap();
    let facts = secret.crls();
    assert_eq!(facts.len(), 2);
    assert_eq!(
        (&*facts[0].issuer, facts[0].revoked),
        ("CN=An authority", 1)
    );
    assert_eq!(facts[0].next_update_text(), "2999-12-31T00:00:00Z");
    assert_eq!(secret.first_crl_expiry(), Some(facts[1].next_update));
    let faults: Vec<String> = secret
        .unusable(SystemTime::now())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        faults,
        [
            "secrets/clients: ca.crls: the list of CN=An authority was to be renewed by 2021-12-31T00:00:00Z: put a newer one in its place"
        ]
    );
}

/// What is of no use today of the authorities `certificates` with these lists.
fn gaps(certificates: &str, crls: &str, only_leaf: bool) -> Vec<String> {
    let mut message = bundle(certificates, Some(crls));
    if let Some(v1::secret::Kind::Ca(bundle)) = &mut message.kind {
        bundle.only_verify_leaf_crl = only_leaf;
    }
    let secret = Secret::read(message).unwrap();
    let faults = secret.unusable(SystemTime::now());
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn an_authority_without_a_list_of_its_own_is_of_no_use_unless_only_leaves_are_looked_at() {
    let (one, two) = (authority_called("One"), authority_called("Two"));
    let (of_one, of_two) = (list(&one.0, 2999), list(&two.0, 2999));
    let both = one.1.clone() + &two.1;
    assert!(gaps(&one.1, &of_one, false).is_empty());
    // Of an authority between, whose certificate need not be there.
    assert!(gaps(&one.1, &format!("{of_one}{of_two}"), false).is_empty());
    assert!(gaps(&both, &format!("{of_one}{of_two}"), false).is_empty());
    let told = |name: &str| {
        format!(
            "secrets/clients: ca.crls: holds no list of CN={name}: every certificate it issued would be refused. Add its list, or take the authority out"
        )
    };
    assert_eq!(gaps(&one.1, &of_two, false), [told("One")]);
    assert_eq!(gaps(&both, &of_one, false), [told("Two")]);
    assert!(gaps(&one.1, &of_two, true).is_empty());
}

#[test]
fn a_list_in_the_name_of_an_authority_has_to_be_signed_by_it() {
    let (real, forged) = (authority_called("One"), authority_called("One"));
    let told = gaps(&real.1, &list(&forged.0, 2999), true);
    assert_eq!(
        told,
        [
            "secrets/clients: ca.crls: the list of CN=One is not signed with the key of the authority of that name: give the list that authority issued"
        ]
    );
    // An authority with a new key beside the one before.
    let both = real.1 + &forged.1;
    assert!(gaps(&both, &list(&forged.0, 2999), false).is_empty());
}

#[test]
fn what_is_no_revocation_list_says_what_is_wrong() {
    let (issuer, root) = authority();
    let good = list(&issuer, 2999);
    let mut lines: Vec<&str> = good.lines().collect();
    lines.remove(2);
    let torn = lines.join("\n");
    for (crls, says) in [
        ("", "ca.crls: holds no revocation list"),
        (&*root, "ca.crls: holds no revocation list"),
        (&torn, "ca.crls: list 1 is no revocation list"),
        (
            &format!("{good}{torn}"),
            "ca.crls: list 2 is no revocation list",
        ),
    ] {
        let told = faults(bundle(&root, Some(crls)));
        assert!(told.contains(says), "{told}\nnot {says}");
    }
    let told = faults(bundle(&format!("{root}{good}"), None));
    assert!(told.contains("put it into `ca.crls`"), "{told}");
    let mut alone = bundle(&root, None);
    if let Some(v1::secret::Kind::Ca(bundle)) = &mut alone.kind {
        bundle.only_verify_leaf_crl = true;
    }
    let told = faults(alone);
    assert!(
        told.contains("ca.only_verify_leaf_crl: has no effect"),
        "{told}"
    );
}

#[test]
fn neither_documents_nor_debug_output_show_a_key() {
    let one = issued(&["a.example.com"], |_| {});
    let line = one.key.lines().nth(1).unwrap();
    let message = proto::v1::Resource {
        kind: Some(v1::resource::Kind::Secret(certificate(
            &one.chain, &one.key,
        ))),
    };
    let document = document::write(&message, None).to_string();
    assert!(document.contains("[redacted sha256:"), "{document}");
    let resource = Resource::read(message.clone()).unwrap();
    for shown in [document, format!("{message:?}"), format!("{resource:?}")] {
        assert!(!shown.contains(line), "{shown}");
    }
}

#[test]
fn a_sign_keeps_the_key_it_is_of_and_no_other() {
    let one = issued(&["a.example.com"], |_| {});
    let stored = certificate(&one.chain, &one.key);
    let mut written = redacted(&stored);
    assert_eq!(Secret::keep(&mut written, None), Err(Unkept::Absent));
    let other = certificate(&one.chain, &issued(&["b.example.com"], |_| {}).key);
    assert_eq!(Secret::keep(&mut written, Some(&other)), Err(Unkept::Other));
    assert_eq!(Secret::keep(&mut written, Some(&stored)), Ok(()));
    assert_eq!(written, stored);
    // A key given is taken as it is, unless it is the same in other lines.
    let mut spaced = certificate(&one.chain, &format!("\n{}", one.key));
    assert_eq!(Secret::keep(&mut spaced, Some(&other)), Ok(()));
    assert_ne!(spaced, stored);
    assert_eq!(Secret::keep(&mut spaced, Some(&stored)), Ok(()));
    assert_eq!(spaced, stored);
}

#[test]
fn what_is_sent_to_a_server_may_leave_its_key_to_it_and_nothing_else() {
    let one = issued(&["a.example.com"], |_| {});
    let check = |secret: v1::Secret| {
        let kind = Some(v1::resource::Kind::Secret(secret));
        Resource::check(v1::Resource { kind })
    };
    let mut signed = redacted(&certificate(&one.chain, &one.key));
    assert_eq!(check(signed.clone()), Ok(()));
    signed.fleets = vec!["a b".into()];
    assert_eq!(check(signed).unwrap_err().len(), 1);
    assert!(check(certificate(&one.chain, "")).is_err());
}

/// The faults of the documents' own shape, or the document's message.
fn read(secret: v1::Secret) -> Result<v1::Secret, String> {
    let whole = document::write_whole(
        &proto::v1::Resource {
            kind: Some(v1::resource::Kind::Secret(secret)),
        },
        None,
    );
    match document::read(whole, document::Expected::default(), "test") {
        Ok(read) => match read.message.kind {
            Some(v1::resource::Kind::Secret(secret)) => Ok(secret),
            other => panic!("{other:?}"),
        },
        Err(faults) => {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(lines.join("\n"))
        }
    }
}

#[test]
fn a_private_key_beside_what_everyone_may_read_is_refused_with_the_remedy() {
    let one = issued(&["a.example.com"], |_| {});
    let (issuer, root) = authority();
    let crl = list(&issuer, 2999);
    let line = one.key.lines().nth(1).unwrap();
    let with_key = |text: &str| format!("{text}{}", one.key);
    for (message, field) in [
        (
            certificate(&with_key(&one.chain), &one.key),
            "secrets/web: certificate.chain",
        ),
        (
            certificate(&format!("{}{}", one.key, one.chain), &one.key),
            "secrets/web: certificate.chain",
        ),
        (
            certificate(&one.chain.replace("-----END", &with_key("")), &one.key),
            "secrets/web: certificate.chain",
        ),
        (
            bundle(&with_key(&root), None),
            "secrets/clients: ca.certificates",
        ),
        (
            bundle(&root, Some(&with_key(&crl))),
            "secrets/clients: ca.crls",
        ),
    ] {
        let told = read(message).unwrap_err();
        let says = format!("{field}: holds a private key: put it into `private_key`");
        assert!(told.starts_with(&says), "{told}");
        assert!(!told.contains(line), "{told}");
    }
    for (message, says) in [
        (
            bundle(&format!("{root}{crl}"), None),
            "put it into `ca.crls`",
        ),
        (
            bundle(&root, Some(&format!("{crl}{root}"))),
            "put it into `ca.certificates`",
        ),
        (
            bundle(&root.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), None),
            "holds a block of another kind, TRUSTED CERTIFICATE: take it out",
        ),
    ] {
        let told = read(message).unwrap_err();
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn text_beside_the_blocks_is_dropped() {
    let one = issued(&["a.example.com"], |_| {});
    let (_, root) = authority();
    let chain = format!(
        "subject=CN = a.example.com\n{}my password is hunter2",
        one.chain
    );
    assert_eq!(
        read(certificate(&chain, &one.key)),
        Ok(certificate(&one.chain, &one.key))
    );
    let noted = format!("# ours\n{root}hunter2\n{root}");
    assert_eq!(
        read(bundle(&noted, None)),
        Ok(bundle(&format!("{root}{root}"), None))
    );
}

#[test]
fn what_is_stored_beside_the_blocks_is_not_shown() {
    let one = issued(&["a.example.com"], |_| {});
    let (issuer, root) = authority();
    let line = one.key.lines().nth(1).unwrap();
    let dirty = |text: &str| format!("hunter2\n{text}{}", one.key);
    for message in [
        certificate(&dirty(&one.chain), &one.key),
        bundle(&dirty(&root), Some(&dirty(&list(&issuer, 2999)))),
    ] {
        // It is still what it was.
        Secret::read(message.clone()).unwrap();
        let resource = proto::v1::Resource {
            kind: Some(v1::resource::Kind::Secret(message)),
        };
        let shown = document::write(&resource, None).to_string();
        assert!(shown.contains("BEGIN CERTIFICATE"), "{shown}");
        assert!(
            !shown.contains(line) && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
