//! Closures as user functions.

use std::sync::Arc;

use millstream_engine::FunctionSpec;
use millstream_value::{Call, Failure, FailureKind, Function, StateAccess, Value};

type OfValue = dyn Fn(&mut Value) -> Result<Value, Failure> + Send + Sync;
type OfState = dyn Fn(&mut Value, &dyn StateAccess) -> Result<Value, Failure> + Send + Sync;

/// What a closure is given.
enum Body {
    Value(Box<OfValue>),
    Stateful(Box<OfState>),
}

struct Closure {
    name: String,
    body: Body,
}

/// A function of the value, by a name for errors and plans.
pub fn function(
    name: &str,
    body: impl Fn(&mut Value) -> Result<Value, Failure> + Send + Sync + 'static,
) -> FunctionSpec {
    let body = Body::Value(Box::new(body));
    FunctionSpec::new(Arc::new(Closure { name: name.to_owned(), body }))
}

/// A function of the value and the state of the record's key (D-23). Values of the state are
/// bytes.
pub fn stateful(
    name: &str,
    body: impl Fn(&mut Value, &dyn StateAccess) -> Result<Value, Failure> + Send + Sync + 'static,
) -> FunctionSpec {
    let body = Body::Stateful(Box::new(body));
    FunctionSpec::stateful(Arc::new(Closure { name: name.to_owned(), body }))
}

impl Function for Closure {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs_host(&self) -> bool {
        false
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        match &self.body {
            Body::Value(body) => body(call.value),
            Body::Stateful(body) => {
                let state = call.state.as_deref().expect("declared as stateful");
                body(call.value, state)
            }
        }
    }

    fn call_expand(
        &self,
        call: &mut Call<'_>,
        each: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut value = self.call(call)?;
        value.decode();
        match value {
            Value::List(items) => items.into_iter().try_for_each(each),
            other => Err(Failure::new(
                FailureKind::Type,
                format!("an expanding function must return a list, not {}", other.type_name()),
            )),
        }
    }

    fn call_values(&self, values: Vec<Value>) -> Result<Value, Failure> {
        match &self.body {
            Body::Value(body) => body(&mut Value::List(values)),
            Body::Stateful(_) => Err(Failure::new(
                FailureKind::InvalidOperation,
                "a reducer of a window has no state of its own",
            )),
        }
    }
}
