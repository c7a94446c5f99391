//! What can be said of policies.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};

use super::Wait;

/// Push, look at, try out and begin policies.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Push(Push),
    Inspect(Inspect),
    Test(Test),
    New(New),
    Componentize(Componentize),
}

/// Upload a component and, with --name, have a policy run it.
///
/// The policy is created, or changed where there is one: its component and what is given here; all
/// else of it stays. The change is only made if nobody else changes the policy meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The component, a *.wasm.
    pub(crate) file: PathBuf,
    /// The policy that is to run it.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Set the policy's label `version` to this; without it the label stays as it is.
    #[arg(long, value_name = "VERSION", requires = "name")]
    pub(crate) version: Option<String>,
    /// The policy's configuration, a file of JSON or YAML; without it the policy keeps its own.
    #[arg(long, value_name = "FILE", requires = "name")]
    pub(crate) config: Option<PathBuf>,
    /// Why, for the revision log.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Print what a component is, without a server.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component, a *.wasm.
    pub(crate) file: PathBuf,
}

/// Run a policy here on a request, and print what it does.
///
/// The policy passes the stages it has, in their order, as on a proxy: decisions, what became of
/// request and response, log, notes, metrics, time and memory are printed. Nothing is sent anywhere.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The component, a *.wasm.
    pub(crate) file: PathBuf,
    /// The request as HTTP/1.1 has it: request line, fields, an empty line, body.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// The upstream's response in the same form [default: an empty 200].
    #[arg(long, value_name = "FILE")]
    pub(crate) response: Option<PathBuf>,
    /// The policy's configuration, a file of JSON or YAML [default: {}].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only this stage.
    #[arg(long, value_name = "STAGE", ignore_case = true)]
    pub(crate) stage: Option<StageName>,
    /// Body mode STREAMED, bodies pass the policy piece by piece, which is the default for a component
    /// that passes them so; else the default is BUFFERED.
    #[arg(long)]
    pub(crate) stream: bool,
    /// How many bytes a piece has.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 16_384,
        conflicts_with_all = ["buffer", "no_body", "max_body"]
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) piece: u32,
    /// Body mode BUFFERED: bodies are given as a whole.
    #[arg(long, conflicts_with = "stream")]
    pub(crate) buffer: bool,
    /// Body mode NONE: bodies pass the policy by.
    #[arg(long, conflicts_with_all = ["stream", "buffer"])]
    pub(crate) no_body: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

/// What the policy is told of where the request comes from and goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "What the policy is told")]
pub(crate) struct Place {
    /// The policy's name [default: that of the file].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The client: IP or IP:PORT.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:40000", value_parser = client)]
    pub(crate) client: SocketAddr,
    /// The listener it came in on.
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub(crate) listener: String,
    /// The route that takes it.
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub(crate) route: String,
    /// The cluster it goes to.
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub(crate) cluster: String,
}

/// What the policy may use, as in the fields of a policy.
#[derive(Debug, Args)]
#[command(next_help_heading = "What the policy may use")]
pub(crate) struct Bounds {
    /// `limits.timeout` [default: 50ms].
    #[arg(long, value_name = "TIME")]
    pub(crate) limit_timeout: Option<String>,
    /// `limits.memory`, in bytes [default: 32 MiB].
    #[arg(long, value_name = "BYTES")]
    pub(crate) limit_memory: Option<u32>,
    /// `limits.fuel` [default: no limit].
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit_fuel: Option<u64>,
    /// `max_body` in bytes, with body mode BUFFERED [default: 1 MiB].
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["stream", "no_body"])]
    pub(crate) max_body: Option<u32>,
}

/// A stage, as it is written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageName {
    #[value(alias = "pre_route")]
    PreRoute,
    #[value(alias = "pre_upstream")]
    PreUpstream,
    #[value(alias = "post_response")]
    PostResponse,
}

/// Begin a policy in Rust: a package that builds, with a test and how to go on.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Its name: letters `a-z`, digits, `-` and `_`.
    pub(crate) name: String,
    /// The folder to make; there must be nothing in it [default: its name].
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// The folder of the crate `fleetway-policy`, `policies/sdk` in Fleetway's repository [default:
    /// cargo fetches it from there].
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

/// Make a component of a core module that was built for wasm32-unknown-unknown.
///
/// For compilers without the target wasm32-wasip2, such as Debian's. The module has to be built with
/// the bindings of `fleetway-policy`, or others that leave their interfaces in it.
#[derive(Debug, Args)]
pub(crate) struct Componentize {
    /// The module.
    pub(crate) module: PathBuf,
    /// Where the component is written to.
    pub(crate) component: PathBuf,
}

/// Reads `IP` and `IP:PORT`.
fn client(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 40_000;
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    address
        .or_else(|_| text.parse())
        .map_err(|_| "must be IP or IP:PORT, such as 192.0.2.7 or [2001:db8::7]:4711".to_owned())
}
