//! Signatures and keys about which honest implementations of ed25519 disagree, and our one verdict on each.
//!
//! Three equations are in use: the plain one (`[s]B = R + [k]A`), the strict one (plain, and neither R nor A of small
//! order), and the cofactored one (`[8][s]B = [8]R + [8][k]A`), to which batch verification comes down. A shop that
//! could get a record past one and not past another would split the alliance. So keys are admitted only if canonical
//! and free of torsion, and signatures are verified strictly, one by one. See "Taming the many EdDSAs" (Chalkias,
//! Garillot, Nikolaenko 2020).

use curve25519_dalek::{
    constants::{ED25519_BASEPOINT_POINT as BASE, EIGHT_TORSION},
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::Scalar,
    traits::{Identity as _, IsIdentity as _},
};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use hutong_record::{KeyError, PublicKey, SigningKey};
use sha2::{Digest as _, Sha512};

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::{Case, check};

/// A key, a message and a signature, as they would come from the wire.
struct Claim {
    name: String,
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

fn claim(name: &str, key: [u8; 32], message: &[u8], nonce: [u8; 32], s: [u8; 32]) -> Claim {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&nonce);
    signature[32..].copy_from_slice(&s);
    Claim { name: name.into(), key, message: message.into(), signature }
}

fn challenge(nonce: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(nonce).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

/// The secret scalar and the nonce of a signer who does not follow the rules.
fn secrets() -> (Scalar, Scalar) {
    (Scalar::from(0x4855_544f_4e47_u64), Scalar::from(0x1eaf_5eed_u64))
}

/// Signs with a key `[a]B + key_torsion` and a nonce `[r]B + nonce_torsion`.
fn crafted(
    name: &str,
    message: &[u8],
    key_torsion: EdwardsPoint,
    nonce_torsion: EdwardsPoint,
) -> (Claim, Scalar) {
    let (a, r) = secrets();
    let key = (a * BASE + key_torsion).compress().0;
    let nonce = (r * BASE + nonce_torsion).compress().0;
    let k = challenge(&nonce, &key, message);
    (claim(name, key, message, nonce, (r + k * a).to_bytes()), k)
}

/// The first of many messages whose challenge is, or is not, a multiple of eight.
fn ground(name: &str, multiple_of_eight: bool) -> Claim {
    (0..1_000u32)
        .map(|n| crafted(name, format!("message {n}").as_bytes(), EIGHT_TORSION[1], EdwardsPoint::identity()))
        .find(|(_, k)| (k.as_bytes()[0] & 7 == 0) == multiple_of_eight)
        .expect("one message in eight")
        .0
}

/// The encoding of y = p + 1, which decompresses to the identity and is not its canonical form.
fn identity_above_p() -> [u8; 32] {
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (0xee, 0x7f);
    bytes
}

fn honest() -> Vec<Claim> {
    let key = SigningKey::from_seed(&[7; 32]);
    let public = *key.public().as_bytes();
    let signature = key.sign_handshake(b"honest");
    let (nonce, s) = (signature.first_chunk().expect("64 bytes"), signature.last_chunk().expect("64 bytes"));
    let mut flipped = *s;
    flipped[3] ^= 0x10;
    vec![
        claim("an honest signature", public, b"honest", *nonce, *s),
        claim("one bit of s flipped", public, b"honest", *nonce, flipped),
        claim("s plus the group order", public, b"honest", *nonce, plus_order(*s)),
    ]
}

/// Adds the group order, little endian; the sum stays under 2^254.
fn plus_order(s: [u8; 32]) -> [u8; 32] {
    let mut order = (-Scalar::ONE).to_bytes();
    order[0] += 1;
    let mut carry = 0;
    std::array::from_fn(|place| {
        let sum = u16::from(s[place]) + u16::from(order[place]) + carry;
        carry = sum >> 8;
        u8::try_from(sum & 0xff).expect("one byte")
    })
}

fn weak_nonces() -> Vec<Claim> {
    let (a, _) = secrets();
    let key = (a * BASE).compress().0;
    let with_nonce = |name: &str, nonce: [u8; 32]| {
        let s = challenge(&nonce, &key, b"nonce") * a;
        claim(name, key, b"nonce", nonce, s.to_bytes())
    };
    let none = EdwardsPoint::identity();
    vec![
        with_nonce("R is the identity", none.compress().0),
        with_nonce("R is the identity, not in canonical form", identity_above_p()),
        crafted("R with a component of order two", b"nonce", none, EIGHT_TORSION[4]).0,
        crafted("R with a component of order eight", b"nonce", none, EIGHT_TORSION[1]).0,
    ]
}

fn weak_keys() -> Vec<Claim> {
    let (_, r) = secrets();
    let nonce = (r * BASE).compress().0;
    let small = |(n, point): (usize, &EdwardsPoint)| {
        claim(&format!("the key is torsion point {n}"), point.compress().0, b"pay 1", nonce, r.to_bytes())
    };
    let mut claims: Vec<_> = EIGHT_TORSION.iter().enumerate().map(small).collect();
    let identity = EdwardsPoint::identity().compress().0;
    let all = "the key is the identity: one signature fits every message";
    claims.push(claim(all, identity, b"pay 1000000", nonce, r.to_bytes()));
    claims.push(claim("the key is not in canonical form", identity_above_p(), b"pay 1", nonce, r.to_bytes()));
    claims.push(claim("the key is no point", [2; 32], b"pay 1", nonce, r.to_bytes()));
    claims.push(ground("the key has a component of order eight, the challenge is a multiple of eight", true));
    claims
        .push(ground("the key has a component of order eight, the challenge is no multiple of eight", false));
    claims
}

/// `[8][s]B = [8]R + [8][k]A`.
fn cofactored(claim: &Claim) -> Option<bool> {
    let (nonce, s) = (claim.signature.first_chunk()?, claim.signature.last_chunk()?);
    let key = CompressedEdwardsY(claim.key).decompress()?;
    let point = CompressedEdwardsY(*nonce).decompress()?;
    let s = Scalar::from_canonical_bytes(*s).into_option()?;
    let k = challenge(nonce, &claim.key, &claim.message);
    Some((s * BASE - k * key - point).mul_by_cofactor().is_identity())
}

fn admission(admitted: Result<PublicKey, KeyError>) -> &'static str {
    match admitted {
        Ok(_) => "admitted",
        Err(KeyError::Length) => "refused: length",
        Err(KeyError::Encoding) => "refused: not canonical",
        Err(KeyError::Weak) => "refused: weak",
    }
}

fn case(claim: Claim) -> Case {
    let signature = Signature::from_bytes(&claim.signature);
    let key = VerifyingKey::from_bytes(&claim.key).ok();
    let admitted = PublicKey::admit(&claim.key);
    let ours = admitted.is_ok_and(|key| key.verify_handshake(&claim.message, &claim.signature).is_ok());
    Case::new(&claim.name)
        .hex("public_key", claim.key)
        .hex("message", &claim.message)
        .hex("signature", claim.signature)
        .number("plain", key.is_some_and(|key| key.verify(&claim.message, &signature).is_ok()))
        .number("strict", key.is_some_and(|key| key.verify_strict(&claim.message, &signature).is_ok()))
        .number("cofactored", cofactored(&claim).unwrap_or(false))
        .text("admission", admission(admitted))
        .number("hutong", ours)
}

#[test]
fn one_verdict_where_implementations_disagree() {
    let claims = honest().into_iter().chain(weak_nonces()).chain(weak_keys());
    let stored = check("ed25519.json", claims.map(case).collect());
    let accepted: Vec<_> = stored.iter().filter(|case| case.flag("hutong")).map(|c| c.text("case")).collect();
    assert_eq!(accepted, ["an honest signature"]);
    let disagree = |case: &&golden::Stored| case.flag("plain") != case.flag("cofactored");
    assert!(stored.iter().filter(disagree).count() >= 4, "the vectors show what they are for");
    for case in &stored {
        let key = PublicKey::admit(&case.bytes("public_key"));
        let verdict = key
            .is_ok_and(|key| key.verify_handshake(&case.bytes("message"), &case.bytes("signature")).is_ok());
        assert_eq!(verdict, case.flag("hutong"), "{}", case.text("case"));
    }
}
