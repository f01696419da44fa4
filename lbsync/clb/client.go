// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	clbapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
	cvmapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"
	tagapi "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/tag/v20180813"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

// Client talks to CLB and CVM in one region. It implements lbsync.API and is safe for concurrent use: changes
// of one CLB wait for each other.
type Client struct {
	cfg    Config
	clb    *clbapi.Client
	cvm    *cvmapi.Client
	tag    *tagapi.Client
	vpc    *common.Client
	keys   *keyring
	limits *limits
	locks  locks
	pace   pace

	regionsMu sync.Mutex
	regions   map[string]*Client // of other regions

	byID      *directory[string]
	byAddress *directory[netip.Addr]
}

var _ lbsync.API = (*Client)(nil)

// New checks the configuration and finds credentials, which takes seconds at most, and ends with ctx. It makes no request to
// CLB.
func New(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.complete()
	place, first, err := find(ctx, sources(cfg))
	if err != nil {
		return nil, err
	}
	registerMetrics()
	c := &Client{cfg: cfg, keys: newKeyring(place, first), limits: &limits{of: cfg.RateLimits.of}}
	if err := c.connect(); err != nil {
		return nil, err
	}
	apiTokens.watch(c.limits)
	c.byID = newDirectory(cfg.InstanceTTL, c.instancesByID)
	c.byAddress = newDirectory(cfg.InstanceTTL, c.instancesByAddress)
	return c, nil
}

// connect makes the SDK's clients.
func (c *Client) connect() (err error) {
	if c.clb, err = clbapi.NewClient(c.keys, c.cfg.Region, c.cfg.profile(c.cfg.Endpoints.CLB)); err != nil {
		return err
	}
	if c.cvm, err = cvmapi.NewClient(c.keys, c.cfg.Region, c.cfg.profile(c.cfg.Endpoints.CVM)); err != nil {
		return err
	}
	if c.tag, err = tagapi.NewClient(c.keys, c.cfg.Region, c.cfg.profile(c.cfg.Endpoints.Tag)); err != nil {
		return err
	}
	c.vpc = c.newVPC()
	agent := notInAgent.ReplaceAllString(c.cfg.UserAgent, "-")
	for _, client := range []*common.Client{&c.clb.Client, &c.cvm.Client, &c.tag.Client, c.vpc} {
		client.WithHttpTransport(c.cfg.Transport)
		if agent != "" {
			client.WithRequestClient(agent)
		}
	}
	return nil
}

// In returns the client for CLBs in another region, the same for the same region: with the same keys, and with rate limits
// of its own, as CLB has them. "" and the client's own region are the client itself. CVM instances stay those of the
// program's own region.
func (c *Client) In(region string) (*Client, error) {
	if region == "" || region == c.cfg.Region {
		return c, nil
	}
	c.regionsMu.Lock()
	defer c.regionsMu.Unlock()
	if there := c.regions[region]; there != nil {
		return there, nil
	}
	cfg := c.cfg
	cfg.Region, cfg.VPCID, cfg.away = region, "", region
	there := &Client{cfg: cfg, keys: c.keys, limits: &limits{of: cfg.RateLimits.of}, byID: c.byID, byAddress: c.byAddress}
	if err := there.connect(); err != nil {
		return nil, err
	}
	if c.regions == nil {
		c.regions = map[string]*Client{}
	}
	c.regions[region] = there
	return there, nil
}

// notInAgent is what the SDK takes as a reason to drop the whole text, the slash of "name/v1" included.
var notInAgent = regexp.MustCompile(`[^0-9a-zA-Z\-_ ,;.]`)

// profile is how the SDK reaches an endpoint. Its retries stay off, as they are by default: they sleep without a look at
// the context, and know one spelling of being throttled out of four.
func (c Config) profile(endpoint string) *profile.ClientProfile {
	p := profile.NewClientProfile()
	p.Language = c.Language
	p.HttpProfile.ReqTimeout = int(math.Ceil(c.Timeout.Seconds()))
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		p.HttpProfile.Scheme = strings.ToUpper(u.Scheme)
		p.HttpProfile.Endpoint = u.Host + strings.TrimSuffix(u.Path, "/")
	}
	return p
}

// call makes one request of the API, with all that belongs to it: it is the only way out. It returns the
// request's ID, under which the task of an asynchronous action is asked for. In a response without error,
// Response is not nil. Errors are *lbsync.Error, or wrap one.
func call[Q, R any](ctx context.Context, c *Client, action string, send func(context.Context, Q) (R, error), req Q) (R, string, error) {
	log := klog.FromContext(ctx)
	var id string
	resp, err := retry(ctx, func() (resp R, err error) {
		used := c.keys.held.Load()
		resp, id, err = attempt(ctx, c, action, send, req)
		if rejected(err) && c.keys.replaced(ctx, used) {
			// A request that is refused for its signature did not run.
			resp, id, err = attempt(ctx, c, action, send, req)
		}
		return resp, err
	}, func(err error, pause time.Duration) {
		apiRetries.WithLabelValues(action, lbsync.KindOf(err).String()).Inc()
		log.V(4).Info("Replaying a request of the cloud API", "action", action, "pause", pause, "reason", err)
	})
	return resp, id, err
}

func rejected(err error) bool {
	e, ok := errors.AsType[*lbsync.Error](err)
	return ok && strings.HasPrefix(e.Code, "AuthFailure")
}

// attempt sends a request once, when its turn comes.
func attempt[Q, R any](ctx context.Context, c *Client, action string, send func(context.Context, Q) (R, error), req Q) (resp R, id string, err error) {
	if err := c.keys.fresh(ctx); err != nil {
		return resp, "", &lbsync.Error{Kind: lbsync.Denied, Action: action, Err: fmt.Errorf("credentials: %s: %w", c.keys.source.name, err),
			Hint: "the credentials have expired and new ones cannot be read"}
	}
	start := time.Now()
	if err := c.limits.wait(ctx, action); err != nil {
		return resp, "", &lbsync.Error{Action: action, Err: fmt.Errorf("waiting for the rate limit of %v/s: %w", c.cfg.RateLimits.of(action), err)}
	}
	sent := time.Now()
	apiWait.WithLabelValues(action).Add(sent.Sub(start).Seconds())

	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	code := ""
	if resp, err = send(bounded, req); err == nil {
		id, err = requestID(resp)
	}
	if err != nil {
		e := classify(action, err)
		code, id, err = e.Code, e.RequestID, e
		if e.Kind == lbsync.Throttled {
			c.limits.throttled(action)
		}
	}
	took := time.Since(sent)
	apiDuration.WithLabelValues(action, code).Observe(took.Seconds())
	apiRequests.WithLabelValues(action, code).Inc()
	level := 2
	if strings.HasPrefix(action, "Describe") {
		level = 4
	}
	klog.FromContext(ctx).V(level).Info("Called the cloud API", "action", action, "requestID", id, "took", took, "code", code)
	return resp, id, err
}

// requestID reads Response.RequestId, which every response of the SDK has, though no interface says so.
func requestID(resp any) (string, error) {
	body := reflect.ValueOf(resp).Elem().FieldByName("Response")
	if body.IsNil() {
		return "", errors.New("the answer has no Response")
	}
	id, _ := reflect.TypeAssert[*string](body.Elem().FieldByName("RequestId"))
	return deref(id), nil
}

// deref returns what p points to, the zero value if that is nothing: CLB leaves out, or sends as null, whatever it
// does not know.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// pointers is a list as the SDK takes it.
func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}
