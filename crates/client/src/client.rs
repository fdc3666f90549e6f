//! The connection, and what each call carries.

use std::{fmt, time::Duration};

use hutong_wire::merchant::v1::{
    alliance_service_client::AllianceServiceClient, channel_service_client::ChannelServiceClient,
    event_service_client::EventServiceClient, governance_service_client::GovernanceServiceClient,
    node_service_client::NodeServiceClient, promotion_service_client::PromotionServiceClient,
    report_service_client::ReportServiceClient, sale_service_client::SaleServiceClient,
    settlement_service_client::SettlementServiceClient, token_service_client::TokenServiceClient,
    voucher_service_client::VoucherServiceClient, webhook_service_client::WebhookServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{self, Endpoint},
};
use zeroize::Zeroizing;

use crate::Error;

/// How long to wait for a connection. The node is on this machine or in this shop.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The deadline of a call: a write waits for the disk, a look-up at most for a few members.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// The deadline of joining, which waits for the inviting shop.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The deadline of calls that have the node post messages to a receiver.
pub const POST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest message either way, bytes: a page of 1,000 vouchers has less than two MiB.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pings on an idle connection, so that a till notices within half a minute that its node is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection whose calls carry token, language and deadline.
pub type Channel = InterceptedService<transport::Channel, Caller>;

/// The secret that opens the merchant port: a partner app's own (`hutong token create`), or for the owner the text in the
/// node's `merchant.token`. Never shown.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// From its text; white space around it does not count.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    fn header(&self) -> Result<MetadataValue<Ascii>, Error> {
        let header = Zeroizing::new(format!("Bearer {}", *self.0));
        let mut value: MetadataValue<Ascii> = header.parse().map_err(|_| Error::Token)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The language of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// 简体中文.
    Zh,
}

impl Language {
    /// The tag for `accept-language` (BCP 47).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-CN",
        }
    }
}

/// Puts token, language and deadline on each call.
#[derive(Clone)]
pub struct Caller {
    authorization: MetadataValue<Ascii>,
    language: Language,
    deadline: Option<Duration>,
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let has_deadline = request.metadata().contains_key("grpc-timeout");
        if let (Some(deadline), false) = (self.deadline, has_deadline) {
            request.set_timeout(deadline);
        }
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        metadata.insert("accept-language", MetadataValue::from_static(self.language.tag()));
        Ok(request)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("language", &self.language).field("deadline", &self.deadline).finish()
    }
}

/// A node's merchant port. Cheap to clone; clones share the connection, which comes back by itself after a restart.
#[derive(Debug, Clone)]
pub struct Client {
    channel: transport::Channel,
    caller: Caller,
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $service:ident;)*) => {
        impl Client {
            $($(#[$doc])*
            pub fn $name(&self) -> $service<Channel> {
                $service::with_interceptor(self.channel.clone(), self.caller.clone())
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX)
            })*
        }
    };
}

services! {
    /// Sales, as generated.
    sales: SaleServiceClient;
    /// Vouchers, as generated.
    vouchers: VoucherServiceClient;
    /// Promotions, as generated.
    promotions: PromotionServiceClient;
    /// Alliances, as generated.
    alliances: AllianceServiceClient;
    /// Rules, motions, strikes, seasons, as generated.
    governance: GovernanceServiceClient;
    /// Channels, as generated.
    channels: ChannelServiceClient;
    /// Reports, as generated.
    reports: ReportServiceClient;
    /// What is owed, as generated.
    settlements: SettlementServiceClient;
    /// The node, as generated.
    node: NodeServiceClient;
    /// Tokens, as generated.
    tokens: TokenServiceClient;
    /// Webhooks, as generated.
    webhooks: WebhookServiceClient;
}

impl Client {
    /// Connects to `http://host:port` and waits until the connection stands. `https` is not spoken: keep the port on
    /// this machine, or put a proxy that ends TLS before it.
    pub async fn connect(endpoint: &str, token: &Token) -> Result<Self, Error> {
        let channel = Self::endpoint(endpoint)?.connect().await.map_err(Error::Connect)?;
        Self::over(channel, token)
    }

    /// Connects with the first call instead, and so also where the node is not up yet.
    pub fn connect_lazy(endpoint: &str, token: &Token) -> Result<Self, Error> {
        Self::over(Self::endpoint(endpoint)?.connect_lazy(), token)
    }

    fn endpoint(endpoint: &str) -> Result<Endpoint, Error> {
        let wrong = || Error::Endpoint(endpoint.to_owned());
        if !endpoint.starts_with("http://") {
            return Err(wrong());
        }
        Ok(Endpoint::from_shared(endpoint.to_owned())
            .map_err(|_| wrong())?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true))
    }

    /// A node at the other end of a channel of the caller's own making, such as one over TLS to another machine
    /// (`Endpoint::connect_with_connector`).
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn over(channel: transport::Channel, token: &Token) -> Result<Self, Error> {
        let caller = Caller {
            authorization: token.header()?,
            language: Language::default(),
            deadline: Some(CALL_TIMEOUT),
        };
        Ok(Self { channel, caller })
    }

    /// The same connection, with refusals worded in another language.
    #[must_use]
    pub fn with_language(mut self, language: Language) -> Self {
        self.caller.language = language;
        self
    }

    /// The same connection, with another deadline for each call (each attempt, where calls are repeated).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.caller.deadline = Some(deadline);
        self
    }

    /// Events, as generated; without a deadline, since a watch never ends by itself.
    pub fn events(&self) -> EventServiceClient<Channel> {
        let caller = Caller { deadline: None, ..self.caller.clone() };
        EventServiceClient::with_interceptor(self.channel.clone(), caller)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl Client {
    /// The node, as generated; without a deadline, for calls that last as long as a file is long.
    pub(crate) fn node_at_leisure(&self) -> NodeServiceClient<Channel> {
        let caller = Caller { deadline: None, ..self.caller.clone() };
        NodeServiceClient::with_interceptor(self.channel.clone(), caller)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        let authorization = Token::new(" secret\n").header().unwrap();
        Caller { authorization, language: Language::Zh, deadline: Some(Duration::from_secs(1)) }
    }

    fn header<'a>(request: &'a Request<()>, name: &str) -> &'a str {
        request.metadata().get(name).unwrap().to_str().unwrap()
    }

    #[test]
    fn calls_carry_token_language_and_deadline() {
        let request = caller().call(Request::new(())).unwrap();
        assert_eq!(header(&request, "authorization"), "Bearer secret");
        assert_eq!(header(&request, "accept-language"), "zh-CN");
        assert_eq!(header(&request, "grpc-timeout"), "1000000u");
    }

    #[test]
    fn a_call_s_own_deadline_stands() {
        let mut own = Request::new(());
        own.set_timeout(Duration::from_secs(60));
        let before = header(&own, "grpc-timeout").to_owned();
        assert_eq!(header(&caller().call(own).unwrap(), "grpc-timeout"), before);
    }

    #[test]
    fn the_token_is_never_shown() {
        let token = Token::new("secret");
        let shown = format!("{token:?} {:?} {:?}", caller(), token.header().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(matches!(Token::new("a\nb").header(), Err(Error::Token)));
    }

    #[tokio::test]
    async fn only_plain_http_addresses_are_endpoints() {
        for wrong in ["127.0.0.1:7711", "https://127.0.0.1:7711", "http://", ""] {
            let result = Client::connect_lazy(wrong, &Token::new("t"));
            assert!(matches!(result, Err(Error::Endpoint(_))), "{wrong}");
        }
        assert!(Client::connect_lazy("http://127.0.0.1:7711", &Token::new("t")).is_ok());
    }
}
