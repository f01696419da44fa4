// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// Keys of Secrets that name certificates of Tencent Cloud's SSL service, as TKE has them.
const (
	secretCertificate = "qcloud_cert_id"
	secretCA          = "qcloud_ca_cert_id"
)

// Secret is what a Secret says about certificates.
type Secret struct {
	Certificate Certificate
	Problem     string // what is wrong with it and what would be right, a phrase that follows its name; "": nothing is
}

// certificateIDs are one ID, or two for keys of different algorithms.
var certificateIDs = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}(,[0-9A-Za-z_-]{1,64})?$`)

// SecretOf reads a Secret; nil is one that does not exist.
func SecretOf(secret *corev1.Secret) Secret {
	if secret == nil {
		return Secret{Problem: "does not exist in the Service's namespace"}
	}
	ids := strings.ReplaceAll(strings.TrimSpace(string(secret.Data[secretCertificate])), " ", "")
	ca := strings.TrimSpace(string(secret.Data[secretCA]))
	_, there := secret.Data[secretCertificate]
	switch {
	case !there:
		return Secret{Problem: fmt.Sprintf("(type %s) lacks the key %s with the ID of a certificate of the SSL service", secret.Type, secretCertificate)}
	case !certificateIDs.MatchString(ids):
		return Secret{Problem: fmt.Sprintf("has under the key %s something that is no ID of a certificate like aB3dE5fG, nor two with a comma between", secretCertificate)}
	case ca != "" && (!certificateIDs.MatchString(ca) || strings.Contains(ca, ",")):
		return Secret{Problem: fmt.Sprintf("has under the key %s something that is no ID of a CA certificate like aB3dE5fG", secretCA)}
	}
	return Secret{Certificate: Certificate{IDs: ids, CA: ca}}
}

// SecretNames returns the names of the Secrets, in the Service's namespace, that its listeners need, sorted.
func SecretNames(o annotation.Options) []string {
	names := map[string]bool{}
	for _, p := range o.Protocols {
		for _, protocol := range p.Protocols {
			switch Protocol(protocol) {
			case TCPSSL, QUIC:
				names[p.TLS] = true
			case HTTPS:
				for _, h := range p.Hosts {
					if h.TLS == "" {
						names[p.TLS] = true
					}
					names[h.TLS] = true
				}
			}
		}
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

// certificate returns what a listener's or rule's Secret says; waits if that is not known, which costs the listener alone.
func (s Service) certificate(port corev1.ServicePort, k ListenerKey, name string) (c Certificate, waits bool, skips []Skip) {
	secret, read := s.Secrets[name]
	switch {
	case !read:
		return c, true, nil // It could not be read now, and is tried again.
	case secret.Problem != "":
		return c, true, []Skip{{Object: portName(port), Reason: CertificateUnknown, Warning: true, Message: fmt.Sprintf(
			"The %s waits for its certificate: Secret %s/%s %s. It should be of the type Opaque, with the ID of the certificate under the key %s; what is there stays until then",
			Listener{ListenerKey: k}.what(), s.Namespace, name, secret.Problem, secretCertificate)}}
	}
	return secret.Certificate, false, nil
}

// Complete returns desired with what the CLB as it is decides: a listener whose certificate is not known keeps the one that it
// has, and one that is not there yet does not come; where SNI is on it stays on, since CLB cannot switch it off; some
// domain of each listener is the default one; a port whose protocol cannot be read keeps the listener that it has; where it is in
// doubt who may connect, no port is opened; and pods whose port is not known stay bound as they are. Neither argument is changed.
func Complete(actual, desired LoadBalancer) LoadBalancer {
	return completeListeners(actual, desired.keepUnclear(actual)).opensNothing(actual).keepFormer(actual)
}

// keepFormer returns desired with the targets of actual that are Former, at their weights.
func (l LoadBalancer) keepFormer(actual LoadBalancer) LoadBalancer {
	out, cloned := l, false
	for b, weight := range actual.Targets {
		if a := l.Answering[b.Listener]; !a.Direct || !a.Former[b.Target.IP] {
			continue
		}
		if !cloned {
			out, cloned = l.Clone(), true
		}
		out.Targets[b] = weight
	}
	return out
}

// completeListeners is Complete for all but targets.
func completeListeners(actual, desired LoadBalancer) LoadBalancer {
	if !slices.ContainsFunc(slices.Collect(maps.Keys(desired.Listeners)), func(k ListenerKey) bool { return k.Protocol.layer7() }) && len(desired.Waiting) == 0 {
		return desired
	}
	out := desired.Clone()
	for _, k := range sortedListeners(desired.Listeners) {
		if l := out.Listeners[k]; l.Protocol == HTTPS && !k.Rule() && !l.SNI && actual.Listeners[k].SNI {
			out.handDown(k)
		}
	}
	for _, k := range sortedListeners(out.Listeners) {
		if !out.Waiting[k] {
			continue
		}
		l := out.Listeners[k]
		if known, ok := certified(actual, k); ok {
			l.Certificate = known
			out.Listeners[k] = l
			continue
		}
		out.retain(actual, k)
		out.remove(k)
	}
	out.Waiting = nil
	for _, k := range sortedListeners(out.Listeners) {
		if k.Protocol.layer7() && !k.Rule() {
			out.nameDefault(actual, k)
		}
	}
	return out
}

// handDown gives the certificate of a listener to its rules.
func (l LoadBalancer) handDown(parent ListenerKey) {
	p := l.Listeners[parent]
	for k, rule := range l.Listeners {
		if k.Rule() && k.Parent() == parent {
			rule.Certificate = p.Certificate
			l.Listeners[k] = rule
			if l.Waiting[parent] {
				l.Waiting[k] = true
			}
		}
	}
	delete(l.Waiting, parent)
	p.SNI, p.Certificate = true, Certificate{}
	l.Listeners[parent] = p
}

// certified returns the certificate that a listener has, or, for a rule, its domain.
func certified(actual LoadBalancer, k ListenerKey) (Certificate, bool) {
	if l, there := actual.Listeners[k]; there && l.Certificate != (Certificate{}) {
		return l.Certificate, true
	}
	if !k.Rule() {
		return Certificate{}, false
	}
	for o, l := range actual.Listeners {
		if o.Parent() == k.Parent() && o.Domain == k.Domain && l.Certificate != (Certificate{}) {
			return l.Certificate, true
		}
	}
	parent := actual.Listeners[k.Parent()].Certificate
	_, domain := actual.Listeners[k]
	return parent, domain && parent != Certificate{}
}

// retain keeps a listener of ours that a waiting one is to take the port of, with the targets that that one is to have: a
// Secret that is still to come would otherwise cut off what works.
func (l LoadBalancer) retain(actual LoadBalancer, waiting ListenerKey) {
	if waiting.Rule() {
		return
	}
	for _, old := range sortedListeners(actual.Listeners) {
		if _, wanted := l.Listeners[old]; wanted || old.Rule() || old.port() != waiting.port() || !actual.Listeners[old].Ours() {
			continue
		}
		l.Listeners[old] = actual.Listeners[old]
		into, from := []ListenerKey{old}, waiting
		if old.Protocol.layer7() {
			into = nil
			for k, rule := range actual.Listeners {
				if k.Rule() && k.Parent() == old {
					l.Listeners[k], into = rule, append(into, k)
				}
			}
		}
		if waiting.Protocol.layer7() {
			for _, k := range sortedListeners(l.Listeners) {
				if k.Rule() && k.Parent() == waiting {
					from = k
					break
				}
			}
		}
		for _, k := range into {
			for b, weight := range maps.Clone(l.Targets) {
				if b.Listener == from {
					l.Targets[Binding{k, b.Target}] = weight
				}
			}
			l.Idle[k], l.Answering[k] = l.Idle[from], l.Answering[from]
		}
	}
}

// nameDefault sees to it that one domain of a listener is the default: the one that somebody asked for, else the one that is, else
// the first.
func (l LoadBalancer) nameDefault(actual LoadBalancer, parent ListenerKey) {
	var is, first string
	for _, k := range sortedListeners(l.Listeners) {
		if !k.Rule() || k.Parent() != parent {
			continue
		}
		if l.Listeners[k].Default {
			return
		}
		if first == "" {
			first = k.Domain
		}
		if is == "" && actual.Listeners[k].Default {
			is = k.Domain
		}
	}
	if is == "" {
		is = first
	}
	for k, rule := range l.Listeners {
		if k.Rule() && k.Parent() == parent && k.Domain == is {
			rule.Default = true
			l.Listeners[k] = rule
		}
	}
}
