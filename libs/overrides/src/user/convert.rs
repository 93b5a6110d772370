//! Converts between the lists in the document and those in the configuration.

use serde_json::Value;
use tactus_config::sections::generator::{
    DimensionMapping, FilterPolicy, MatchAttribute, MatchValue, PolicyMatch,
};

use super::document::{
    UserDimensionMapping, UserFilterPolicy, UserMatchAttribute, UserPolicyMatch,
};

pub(super) fn mapping(user: &UserDimensionMapping) -> DimensionMapping {
    let UserDimensionMapping { name, source_labels, join } = user.clone();
    DimensionMapping { name, source_labels, join }
}

pub(super) fn user_mapping(mapping: &DimensionMapping) -> UserDimensionMapping {
    let DimensionMapping { name, source_labels, join } = mapping.clone();
    UserDimensionMapping { name, source_labels, join }
}

pub(super) fn policy(user: &UserFilterPolicy) -> FilterPolicy {
    let UserFilterPolicy { include, include_any, exclude } = user;
    let part = |part: &Option<UserPolicyMatch>| part.as_ref().map(policy_match);
    FilterPolicy { include: part(include), include_any: part(include_any), exclude: part(exclude) }
}

pub(super) fn user_policy(policy: &FilterPolicy) -> UserFilterPolicy {
    let FilterPolicy { include, include_any, exclude } = policy;
    let part = |part: &Option<PolicyMatch>| part.as_ref().map(user_policy_match);
    UserFilterPolicy {
        include: part(include),
        include_any: part(include_any),
        exclude: part(exclude),
    }
}

fn policy_match(user: &UserPolicyMatch) -> PolicyMatch {
    let attribute = |attribute: &UserMatchAttribute| MatchAttribute {
        key: attribute.key.clone(),
        value: match &attribute.value {
            Value::String(text) => MatchValue::Text(text.clone()),
            Value::Bool(flag) => MatchValue::Bool(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => MatchValue::Int(number),
                (None, Some(number)) => MatchValue::Float(number),
                (None, None) => MatchValue::Text(number.to_string()),
            },
            Value::Null => MatchValue::Missing,
            other => MatchValue::Text(other.to_string()),
        },
    };
    PolicyMatch {
        match_type: user.match_type.clone(),
        attributes: user.attributes.iter().map(attribute).collect(),
    }
}

fn user_policy_match(policy: &PolicyMatch) -> UserPolicyMatch {
    let attribute = |attribute: &MatchAttribute| UserMatchAttribute {
        key: attribute.key.clone(),
        value: match &attribute.value {
            MatchValue::Text(text) => Value::String(text.clone()),
            MatchValue::Int(number) => Value::from(*number),
            MatchValue::Float(number) => Value::from(*number),
            MatchValue::Bool(flag) => Value::Bool(*flag),
            MatchValue::Missing => Value::Null,
        },
    };
    UserPolicyMatch {
        match_type: policy.match_type.clone(),
        attributes: policy.attributes.iter().map(attribute).collect(),
    }
}
