//! Keys that no certificate may carry although they can be read: too small, or known to be broken.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::error::ErrorStack;
use openssl::pkey::Public;
use openssl::rsa::Rsa;

use super::algorithm::{KeyType, PublicKey};

const MIN_RSA_BITS: u32 = 2048;
const MAX_RSA_BITS: u32 = 8192;
const MIN_RSA_EXPONENT: u32 = 65537;
/// Trial division stops here, as Boulder's `goodkey` does: dearer attacks are the client's affair.
const MAX_SMALL_PRIME: u32 = 752;
/// Fermat's method finds primes that close in so many steps (Boulder takes 110).
const FERMAT_ROUNDS: u32 = 110;
/// The largest prime that the ROCA fingerprint uses (CVE-2017-15361).
const MAX_ROCA_PRIME: u32 = 167;

/// Why a key protects nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WeakKey {
    #[error(
        "its modulus has {0} bits; RSA keys must have 2048 to 8192 bits, in a multiple of eight"
    )]
    RsaSize(u32),
    #[error("its public exponent must be odd, at least 65537 and below 2^32")]
    RsaExponent,
    #[error("its modulus is divisible by {0}")]
    RsaFactor(u32),
    #[error("its modulus was made by a generator that is broken (ROCA, CVE-2017-15361)")]
    RsaRoca,
    #[error("the primes of its modulus are too close to each other (CVE-2022-26320)")]
    RsaClosePrimes,
    #[error("OpenSSL could not examine it")]
    Unexamined,
}

impl From<ErrorStack> for WeakKey {
    fn from(_: ErrorStack) -> Self {
        Self::Unexamined
    }
}

/// Refuses RSA keys of the wrong size or exponent, or with a modulus that is easily taken apart. Every
/// other key that [`PublicKey`] knows is strong enough.
pub(crate) fn check(key: &PublicKey) -> Result<(), WeakKey> {
    match (key.key_type(), key.pkey()) {
        (KeyType::Rsa(bits), Some(key)) => check_rsa(bits, &key.rsa()?),
        (KeyType::Rsa(_), None) => Err(WeakKey::Unexamined),
        (KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521, _)
        | (KeyType::Ed25519 | KeyType::MlDsa(_), _) => Ok(()),
    }
}

fn check_rsa(bits: u32, rsa: &Rsa<Public>) -> Result<(), WeakKey> {
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) || !bits.is_multiple_of(8) {
        return Err(WeakKey::RsaSize(bits));
    }
    let exponent = rsa.e();
    if exponent.num_bits() > 32
        || !exponent.is_bit_set(0)
        || *exponent < *BigNum::from_u32(MIN_RSA_EXPONENT)?
    {
        return Err(WeakKey::RsaExponent);
    }
    let modulus = rsa.n();
    for prime in primes_below(MAX_SMALL_PRIME) {
        if modulus.mod_word(prime)? == 0 {
            return Err(WeakKey::RsaFactor(prime));
        }
    }
    if has_roca_fingerprint(modulus)? {
        return Err(WeakKey::RsaRoca);
    }
    if has_close_primes(modulus)? {
        return Err(WeakKey::RsaClosePrimes);
    }
    Ok(())
}

fn primes_below(limit: u32) -> impl Iterator<Item = u32> {
    (2..limit).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d)))
}

/// The broken generator's moduli are powers of 65537 modulo each small prime (Nemec et al. 2017,
/// §2); a good modulus is so by chance about once in 2^28.
fn has_roca_fingerprint(modulus: &BigNumRef) -> Result<bool, ErrorStack> {
    for prime in primes_below(MAX_ROCA_PRIME + 1).filter(|prime| *prime > 2) {
        let residue = modulus.mod_word(prime)?;
        let is_power = std::iter::successors(Some(1), |power| Some(power * 65537 % prime))
            .take(prime as usize)
            .any(|power| u64::from(power) == residue);
        if !is_power {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fermat's factorization: n = a² − b² with a just above the root of n.
fn has_close_primes(modulus: &BigNumRef) -> Result<bool, ErrorStack> {
    let mut context = BigNumContext::new()?;
    let one = BigNum::from_u32(1)?;
    let mut a = square_root(modulus, &mut context)?;
    let mut square = BigNum::new()?;
    square.sqr(&a, &mut context)?;
    if *square == *modulus {
        return Ok(true);
    }
    for _ in 0..FERMAT_ROUNDS {
        a = &a + &one;
        square.sqr(&a, &mut context)?;
        let difference = &square - modulus;
        if !may_be_square(&difference)? {
            continue;
        }
        let b = square_root(&difference, &mut context)?;
        square.sqr(&b, &mut context)?;
        if square == difference {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Spares most roots: modulo these three, one number in 65 is a square.
fn may_be_square(n: &BigNumRef) -> Result<bool, ErrorStack> {
    for divisor in [64, 63, 65] {
        let residue = n.mod_word(divisor)?;
        if !(0..u64::from(divisor)).any(|root| root * root % u64::from(divisor) == residue) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The root rounded down, by Newton's method from above.
fn square_root(n: &BigNumRef, context: &mut BigNumContext) -> Result<BigNum, ErrorStack> {
    let mut root = BigNum::new()?;
    root.set_bit(n.num_bits() / 2 + 1)?;
    loop {
        let mut next = BigNum::new()?;
        next.checked_div(n, &root, context)?;
        let sum = &next + &root;
        next.rshift1(&sum)?;
        if next >= root {
            return Ok(root);
        }
        root = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::bn::MsbOption;
    use openssl::pkey::PKey;

    fn rsa(modulus: &BigNumRef, exponent: &BigNumRef) -> PublicKey {
        let rsa =
            Rsa::from_public_components(modulus.to_owned().unwrap(), exponent.to_owned().unwrap())
                .unwrap();
        let spki = PKey::from_rsa(rsa).unwrap().public_key_to_der().unwrap();
        PublicKey::from_spki(&spki).unwrap()
    }

    fn exponent() -> BigNum {
        BigNum::from_u32(65537).unwrap()
    }

    #[test]
    fn good_keys_pass() {
        for bits in [2048, 3072] {
            let good = Rsa::generate(bits).unwrap();
            assert_eq!(check(&rsa(good.n(), good.e())), Ok(()), "{bits}");
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        for bits in [1024, 2047, 2049, 2052, 8200] {
            let mut modulus = BigNum::new().unwrap();
            modulus.rand(bits, MsbOption::ONE, true).unwrap();
            let bits = u32::try_from(bits).unwrap();
            assert_eq!(check(&rsa(&modulus, &exponent())), Err(WeakKey::RsaSize(bits)));
        }
    }

    #[test]
    fn small_even_and_huge_exponents_are_refused() {
        let good = Rsa::generate(2048).unwrap();
        for exponent in ["1", "3", "65535", "65538", "4294967297"] {
            let exponent = BigNum::from_dec_str(exponent).unwrap();
            assert_eq!(check(&rsa(good.n(), &exponent)), Err(WeakKey::RsaExponent), "{exponent}");
        }
    }

    #[test]
    fn a_small_factor_is_found() {
        for factor in [2, 3, 751] {
            // The least multiple of 2048 bits.
            let mut modulus = BigNum::new().unwrap();
            modulus.set_bit(2047).unwrap();
            let rest = modulus.mod_word(factor).unwrap();
            modulus.add_word(factor - u32::try_from(rest).unwrap()).unwrap();
            let found = check(&rsa(&modulus, &exponent()));
            assert!(
                matches!(found, Err(WeakKey::RsaFactor(least)) if least <= factor),
                "{found:?}"
            );
        }
    }

    #[test]
    fn close_primes_are_found() {
        let mut p = BigNum::new().unwrap();
        loop {
            p.generate_prime(1024, false, None, None).unwrap();
            let mut context = BigNumContext::new().unwrap();
            let mut q = p.to_owned().unwrap();
            q.add_word(2).unwrap();
            while !q.is_prime(20, &mut context).unwrap() {
                q.add_word(2).unwrap();
            }
            let modulus = &p * &q;
            if modulus.num_bits() == 2048 {
                let found = check(&rsa(&modulus, &exponent()));
                assert_eq!(found, Err(WeakKey::RsaClosePrimes));
                break;
            }
        }
    }

    #[test]
    fn the_mark_of_the_broken_generator_is_found() {
        let mut context = BigNumContext::new().unwrap();
        let mut product = BigNum::from_u32(1).unwrap();
        for prime in primes_below(MAX_ROCA_PRIME + 1) {
            product.mul_word(prime).unwrap();
        }
        let mut power = BigNum::new().unwrap();
        power
            .mod_exp(&exponent(), &BigNum::from_u32(12345).unwrap(), &product, &mut context)
            .unwrap();
        // A multiple of the product on top keeps the residues; the least one that
        // sets the top bit of 2048.
        let mut top = BigNum::new().unwrap();
        top.set_bit(2047).unwrap();
        let mut multiple = BigNum::new().unwrap();
        multiple.checked_div(&top, &product, &mut context).unwrap();
        multiple.add_word(1).unwrap();
        let mut modulus = &(&product * &multiple) + &power;
        while primes_below(MAX_SMALL_PRIME).any(|prime| modulus.mod_word(prime).unwrap() == 0) {
            modulus = &modulus + &product;
        }
        assert_eq!(check(&rsa(&modulus, &exponent())), Err(WeakKey::RsaRoca));
    }
}
