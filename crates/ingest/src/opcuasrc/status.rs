//! What status codes say (OPC UA part 4, 7.39, and part 8, 6.3).

use opcua::types::{
    StatusCode,
    status_code::{StatusCodeSeverity, SubStatusCode},
};
use sightglass_protocol::Quality;

/// How far a value with this status can be trusted.
pub(super) fn quality(status: StatusCode) -> Quality {
    use SubStatusCode::*;
    match (status.severity(), status.sub_code()) {
        (StatusCodeSeverity::Good, _) => Quality::Good,
        // There is none yet, or none was kept.
        (_, BadWaitingForInitialData | BadNoData | BadNoDataAvailable) => Quality::Missing,
        // What measured it has stopped; the value is an old one.
        (_, UncertainLastUsableValue | UncertainNoCommunicationLastUsableValue) => Quality::Stale,
        (StatusCodeSeverity::Uncertain, _) => Quality::Uncertain,
        _ => Quality::Bad,
    }
}

/// The status by its name, what it means, and where that is known what to do.
pub(super) fn described(status: StatusCode) -> String {
    use SubStatusCode::*;
    let code = status.sub_code();
    let advice = match code {
        BadNodeIdUnknown | BadNodeIdInvalid => "the server has no such node; look the address up on the server",
        BadUserAccessDenied | BadNotReadable | BadIdentityTokenRejected | BadIdentityTokenInvalid => {
            "the server does not let this user in, or read this; check the user, the password and the rights on the server"
        }
        BadSecurityChecksFailed | BadCertificateUntrusted | BadCertificateUriInvalid => {
            "the server does not trust this program; let it trust own/cert.der in the source's folder pki"
        }
        BadTooManyMonitoredItems | BadTooManySubscriptions | BadTooManySessions | BadTooManyOperations => {
            "the server has reached a limit of its own; raise it there, or read fewer tags"
        }
        BadMonitoredItemFilterUnsupported | BadFilterNotAllowed | BadDeadbandFilterInvalid => {
            "the server knows no such deadband for this node; leave deadband= out"
        }
        BadNoCommunication | BadNotConnected | BadCommunicationError => "what lies behind the server is out of reach",
        BadSensorFailure | BadDeviceFailure => "the device reports its own failure; look at it",
        BadConfigurationError => "the server is set up wrongly at this node",
        BadOutOfService => "it was taken out of service",
        _ => "",
    };
    let name = status.to_string();
    let meaning = code.description().trim().trim_end_matches('.');
    if advice.is_empty() { format!("{name} ({meaning})") } else { format!("{name}: {advice}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_severity_and_sub_code_has_its_quality() {
        for (status, expected) in [
            (StatusCode::Good, Quality::Good),
            (StatusCode::GoodClamped, Quality::Good),
            (StatusCode::GoodLocalOverride, Quality::Good),
            (StatusCode::Uncertain, Quality::Uncertain),
            (StatusCode::UncertainSensorNotAccurate, Quality::Uncertain),
            (StatusCode::UncertainSubNormal, Quality::Uncertain),
            (StatusCode::UncertainLastUsableValue, Quality::Stale),
            (StatusCode::Bad, Quality::Bad),
            (StatusCode::BadSensorFailure, Quality::Bad),
            (StatusCode::BadNoCommunication, Quality::Bad),
            (StatusCode::BadOutOfService, Quality::Bad),
            (StatusCode::BadWaitingForInitialData, Quality::Missing),
            // Reserved by the standard, which says to take it as bad.
            (StatusCode::from(0xC000_0000), Quality::Bad),
            (StatusCode::from(u32::MAX), Quality::Bad),
        ] {
            assert_eq!(quality(status), expected, "{status}");
            assert!(!described(status).is_empty());
        }
        assert!(described(StatusCode::BadNodeIdUnknown).starts_with("BadNodeIdUnknown: the server has no such node"));
    }
}
