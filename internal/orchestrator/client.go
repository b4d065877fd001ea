package orchestrator

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// DialTimeout bounds the first call to Temporal, in which it is learnt whether anybody is there.
const DialTimeout = 5 * time.Second

// AnswerTimeout bounds a call that only a running worker can answer (a query, an update) when the context has no deadline.
const AnswerTimeout = 30 * time.Second

// Options tell how Temporal is reached.
type Options struct {
	// Profile gives address and namespace where TEMPORAL_* does not; see ClientOptions for the order.
	Profile readapi.Profile
	// Logger of the SDK; nil logs nothing.
	Logger log.Logger
	// Identity shows in histories as who started or signalled; empty takes the SDK's process@host.
	Identity string
	// Codec encrypts what goes to Temporal and decrypts what comes from there. Nil: Profile.PayloadKeys, else Profile.Gateway.
	Codec converter.PayloadCodec
	// Env replaces the process's environment in tests.
	Env envconfig.EnvLookup
}

// Client is a connection to one namespace. It may be used concurrently.
type Client struct {
	temporal  client.Client
	codec     converter.PayloadCodec
	namespace string
	address   string
}

// Dial connects and makes sure that somebody answers. Everything that the connection carries is encrypted. The error is ErrUnreachable or
// a bad configuration.
func Dial(ctx context.Context, o Options) (*Client, error) {
	opts, err := o.ClientOptions()
	if err != nil {
		return nil, err
	}
	codec, noCodec := o.codec(ctx)
	if noCodec == nil {
		if err := payload.Encrypt(&opts, codec); err != nil {
			return nil, err
		}
	}
	opts.ConnectionOptions.GetSystemInfoTimeout = DialTimeout
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return nil, unreachable(opts.HostPort, err)
	}
	if noCodec != nil { // said only now: that nobody runs there is what a person should hear first
		c.Close()
		return nil, noCodec
	}
	return &Client{temporal: c, codec: codec, namespace: opts.Namespace, address: opts.HostPort}, nil
}

// Temporal is the connection itself, for a worker to poll on.
func (c *Client) Temporal() client.Client { return c.temporal }

// Namespace is where all of this client's workflows live.
func (c *Client) Namespace() string { return c.namespace }

// Close ends a connection that Dial made.
func (c *Client) Close() {
	c.temporal.Close()
	if g, remote := c.codec.(gatewayCodec); remote {
		g.client.Close()
	}
}

// ClientOptions resolves the connection's settings: TEMPORAL_* first, then the Profile, then Temporal's profile file
// (https://docs.temporal.io/develop/environment-configuration), then Temporal's defaults. The file stands above the Profile only
// when TEMPORAL_PROFILE or TEMPORAL_CONFIG_FILE asks for it: one that a person keeps for another purpose must not lead a
// `holdfastd dev` away to a server that is not its own. A setting that switches off the verification of the server's certificate
// is refused.
func (o Options) ClientOptions() (client.Options, error) {
	conf, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{
		EnvLookup: o.Env, DisableFile: o.Profile.TemporalAddress != "" && !o.asksForFile()})
	if err != nil {
		return client.Options{}, badSettings(err)
	}
	if conf.TLS != nil && conf.TLS.DisableHostVerification {
		return client.Options{}, badSettings(fmt.Errorf("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION is set: Holdfast always verifies certificates"))
	}
	if conf.Address == "" {
		conf.Address = firstOf(o.Profile.TemporalAddress, client.DefaultHostPort)
	}
	if conf.Namespace == "" {
		conf.Namespace = firstOf(o.Profile.TemporalNamespace, client.DefaultNamespace)
	}
	opts, err := conf.ToClientOptions(envconfig.ToClientOptionsRequest{})
	if err != nil {
		return client.Options{}, badSettings(err)
	}
	opts.Logger, opts.Identity = o.Logger, o.Identity
	if opts.Logger == nil {
		opts.Logger = silent{}
	}
	return opts, nil
}

// asksForFile tells whether the environment names Temporal's profile file or a profile in it.
func (o Options) asksForFile() bool {
	env := o.Env
	if env == nil {
		env = envconfig.EnvLookupOS
	}
	profile, _ := env.LookupEnv("TEMPORAL_PROFILE")
	file, _ := env.LookupEnv("TEMPORAL_CONFIG_FILE")
	return profile != "" || file != ""
}

func badSettings(err error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the settings for Temporal cannot work", Hint: "look at TEMPORAL_* and at Temporal's profile file", Cause: err}
}

func firstOf(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// answerBy gives ctx a deadline when it has none.
func answerBy(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, AnswerTimeout)
}

// silent keeps the SDK from writing to the terminal: what a person should know is in the returned errors.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
