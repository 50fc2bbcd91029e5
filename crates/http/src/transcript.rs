//! The cryptography of a server, with one difference: a handshake is hashed as the client said it, also where its greeting
//! was marked on the way (`greeting.rs`).

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use crate::greeting::restored;

/// What servers use. Made once, since suites live as long as the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let usual = rustls::crypto::ring::default_provider();
        let suites = usual.cipher_suites.into_iter().map(faithful);
        Arc::new(CryptoProvider {
            cipher_suites: suites.collect(),
            ..rustls::crypto::ring::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// The same suite with a faithful hash.
fn faithful(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |usual: &CipherSuiteCommon| CipherSuiteCommon {
        suite: usual.suite,
        hash_provider: Box::leak(Box::new(Faithful(usual.hash_provider))),
        confidentiality_limit: usual.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls12(usual) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&usual.common),
                prf_provider: usual.prf_provider,
                kx: usual.kx,
                sign: usual.sign,
                aead_alg: usual.aead_alg,
            })))
        }
        SupportedCipherSuite::Tls13(usual) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&usual.common),
                hkdf_provider: usual.hkdf_provider,
                aead_alg: usual.aead_alg,
                quic: usual.quic,
            })))
        }
    }
}

/// A hash over what was said.
struct Faithful(&'static dyn Hash);

impl Hash for Faithful {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Going(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        match restored(data) {
            Some(said) => self.0.hash(&said),
            None => self.0.hash(data),
        }
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

/// One under way. A message comes in one piece, so a greeting is seen whole.
struct Going(Box<dyn Context>);

impl Context for Going {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        match restored(data) {
            Some(said) => self.0.update(&said),
            None => self.0.update(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_the_usual_ones_in_their_order() {
        let names = |provider: &CryptoProvider| -> Vec<_> {
            provider.cipher_suites.iter().map(|it| it.suite()).collect()
        };
        let usual = rustls::crypto::ring::default_provider();
        assert_eq!(names(&provider()), names(&usual));
    }
}
