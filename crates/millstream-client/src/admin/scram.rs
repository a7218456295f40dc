//! Credentials of users for SASL/SCRAM (KIP-554).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use ring::pbkdf2;

use super::Admin;
use super::answers::{Found, checked, text};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use super::topics::owned;
use crate::error::{Error, KafkaError, code};
use crate::settings::Secret;

/// The hash of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramMechanism {
    /// `SCRAM-SHA-256`.
    Sha256,
    /// `SCRAM-SHA-512`.
    Sha512,
}

impl ScramMechanism {
    fn code(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The password as the broker gets it (RFC 5802, `SaltedPassword`).
    fn salted(self, password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut salted = vec![0; length];
        let password = password.expose().as_bytes();
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// A credential as a broker shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScramCredential {
    /// The hash; `None` for one that this client does not know.
    pub mechanism: Option<ScramMechanism>,
    /// How often it is hashed.
    pub iterations: i32,
}

/// A change of a user's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScramChange {
    /// Sets one.
    Set {
        /// The user.
        user: String,
        /// The hash.
        mechanism: ScramMechanism,
        /// How often it is hashed; Kafka takes 4096 to 16384.
        iterations: u32,
        /// Random bytes. Each credential has its own.
        salt: Vec<u8>,
        /// The password, which does not leave this process.
        password: Secret,
    },
    /// Removes one.
    Remove {
        /// The user.
        user: String,
        /// The hash.
        mechanism: ScramMechanism,
    },
}

impl ScramChange {
    fn user(&self) -> &str {
        match self {
            Self::Set { user, .. } | Self::Remove { user, .. } => user,
        }
    }
}

type Users = Vec<(String, Vec<ScramCredential>)>;

/// All users, or one.
struct DescribeScram;

impl Operation for DescribeScram {
    type Request = DescribeUserScramCredentialsRequest;
    type Item = Option<String>;
    type Answer = Users;
    const VERSIONS: (i16, i16) = (0, 0);

    fn route(&self, _: &Option<String>) -> Route {
        Route::Any
    }

    fn action(&self, user: &Option<String>) -> String {
        match user {
            Some(user) => format!("describe the credentials of user {user:?}"),
            None => "list the users with credentials".into(),
        }
    }

    fn request(
        &self,
        users: &[&Option<String>],
        _: i16,
        _: i32,
    ) -> DescribeUserScramCredentialsRequest {
        let name = |name: &&Option<String>| {
            name.as_deref().map(|name| UserName::default().with_name(text(name)))
        };
        // One without a name asks for all.
        DescribeUserScramCredentialsRequest::default()
            .with_users(users.iter().map(name).collect::<Option<Vec<_>>>())
    }

    fn throttle_ms(response: &DescribeUserScramCredentialsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        users: &[&Option<String>],
        response: DescribeUserScramCredentialsResponse,
        _: Reply,
    ) -> Answers<Users> {
        checked(response.error_code, response.error_message.as_deref(), ())?;
        let mut found = BTreeMap::new();
        for user in response.results {
            let credentials = user.credential_infos.iter().map(|info| ScramCredential {
                mechanism: match info.mechanism {
                    1 => Some(ScramMechanism::Sha256),
                    2 => Some(ScramMechanism::Sha512),
                    _ => None,
                },
                iterations: info.iterations,
            });
            let name = user.user.to_string();
            let entry = (name.clone(), credentials.collect::<Vec<_>>());
            let text = user.error_message.as_deref();
            found.insert(name, checked(user.error_code, text, entry));
        }
        if let [None] = users {
            return Ok(vec![found.into_values().collect()]);
        }
        let found: Found<_, _> = found.into_iter().collect();
        let names = users.iter().map(|user| user.as_ref().cloned().unwrap_or_default());
        let one = |answer: Result<_, KafkaError>| answer.map(|entry| vec![entry]);
        Ok(found.in_order(names).into_iter().map(one).collect())
    }
}

/// A change with the password hashed already, which takes a while and is done by the caller.
enum Prepared {
    Set(String, ScramCredentialUpsertion),
    Remove(String, ScramCredentialDeletion),
}

impl Prepared {
    fn user(&self) -> &str {
        match self {
            Self::Set(user, _) | Self::Remove(user, _) => user,
        }
    }
}

struct AlterScram;

impl Operation for AlterScram {
    type Request = AlterUserScramCredentialsRequest;
    type Item = Prepared;
    type Answer = ();
    const VERSIONS: (i16, i16) = (0, 0);

    fn route(&self, _: &Prepared) -> Route {
        Route::Controller
    }

    fn action(&self, change: &Prepared) -> String {
        change_action(change.user())
    }

    fn request(&self, changes: &[&Prepared], _: i16, _: i32) -> AlterUserScramCredentialsRequest {
        let set = changes.iter().filter_map(|change| match change {
            Prepared::Set(_, upsertion) => Some(upsertion.clone()),
            Prepared::Remove(..) => None,
        });
        let removed = changes.iter().filter_map(|change| match change {
            Prepared::Remove(_, deletion) => Some(deletion.clone()),
            Prepared::Set(..) => None,
        });
        AlterUserScramCredentialsRequest::default()
            .with_upsertions(set.collect())
            .with_deletions(removed.collect())
    }

    fn throttle_ms(response: &AlterUserScramCredentialsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        changes: &[&Prepared],
        response: AlterUserScramCredentialsResponse,
        _: Reply,
    ) -> Answers<()> {
        let found: Found<String, ()> = response
            .results
            .into_iter()
            .map(|result| {
                let text = result.error_message.as_deref();
                (result.user.to_string(), checked(result.error_code, text, ()))
            })
            .collect();
        Ok(found.in_order(changes.iter().map(|change| change.user().to_owned())))
    }
}

fn change_action(user: &str) -> String {
    format!("change the credentials of user {user:?}")
}

fn prepare(change: &ScramChange) -> Result<Prepared, Error> {
    match change {
        ScramChange::Set { user, mechanism, iterations, salt, password } => {
            let wrong = |text| {
                let error = KafkaError::with(code::INVALID_ARGUMENT, Some(text));
                Error::kafka(change_action(change.user()), error)
            };
            let (Some(count), Ok(number)) =
                (NonZeroU32::new(*iterations), i32::try_from(*iterations))
            else {
                return Err(wrong("this number of iterations cannot be"));
            };
            if salt.is_empty() {
                return Err(wrong("a salt cannot be empty"));
            }
            let upsertion = ScramCredentialUpsertion::default()
                .with_name(text(user))
                .with_mechanism(mechanism.code())
                .with_iterations(number)
                .with_salt(Bytes::copy_from_slice(salt))
                .with_salted_password(mechanism.salted(password, salt, count).into());
            Ok(Prepared::Set(user.clone(), upsertion))
        }
        ScramChange::Remove { user, mechanism } => {
            let deletion = ScramCredentialDeletion::default()
                .with_name(text(user))
                .with_mechanism(mechanism.code());
            Ok(Prepared::Remove(user.clone(), deletion))
        }
    }
}

impl Admin {
    /// The credentials of these users; one without any is code 91, `RESOURCE_NOT_FOUND`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_scram_credentials(
        &mut self,
        users: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<Vec<ScramCredential>, Error>>, Error> {
        let deadline = self.within(timeout);
        let users = owned(users).into_iter().map(Some).collect();
        let found = self.call(DescribeScram, users, deadline)?;
        let credentials = |users: Users| users.into_iter().flat_map(|(_, found)| found).collect();
        Ok(found.into_iter().map(|user| user.map(credentials)).collect())
    }

    /// All users that have credentials, sorted by name.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn list_scram_users(
        &mut self,
        timeout: Duration,
    ) -> Result<Vec<(String, Vec<ScramCredential>)>, Error> {
        let deadline = self.within(timeout);
        self.call_one(DescribeScram, None, deadline)
    }

    /// Sets and removes credentials. Changes of one user are taken together or not at all.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`], also for a change that cannot be.
    pub fn alter_scram_credentials(
        &mut self,
        changes: &[ScramChange],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        let prepared = changes.iter().map(prepare).collect::<Result<Vec<_>, Error>>()?;
        self.call(AlterScram, prepared, deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677: user `user`, password `pencil`.
    #[test]
    fn a_password_is_salted_as_the_standard_says() {
        let salt = [
            0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36,
            0xfa, 0x81,
        ];
        let iterations = NonZeroU32::new(4096).unwrap();
        let salted = ScramMechanism::Sha256.salted(&Secret::new("pencil"), &salt, iterations);
        let hex: String = salted.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d");
    }

    #[test]
    fn a_change_shows_no_password_and_must_make_sense() {
        let change = |iterations, salt: &[u8]| ScramChange::Set {
            user: "alice".into(),
            mechanism: ScramMechanism::Sha512,
            iterations,
            salt: salt.to_vec(),
            password: Secret::new("hidden"),
        };
        assert!(!format!("{:?}", change(4096, b"salt")).contains("hidden"));
        assert!(prepare(&change(4096, b"salt")).is_ok());
        for bad in [change(0, b"salt"), change(u32::MAX, b"salt"), change(4096, b"")] {
            let error = prepare(&bad).err().unwrap().to_string();
            assert!(error.contains("alice") && !error.contains("hidden"), "{error}");
        }
    }
}
