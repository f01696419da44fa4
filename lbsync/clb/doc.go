// SPDX-License-Identifier: Apache-2.0

// Package clb is the edge to Tencent Cloud: it carries out what lbsync decided (it implements lbsync.API)
// and reads CLBs and CVM instances back in lbsync's words. It is the only importer of the cloud's SDK.
// Commands build one Client and hand it to lbsync/controller and provider.
//
// It decides how a request is made, never which: token bucket, signature, error classification, replay of
// what is known not to have run, the wait for asynchronous tasks, and one write at a time per CLB are here;
// what a load balancer should look like is not.
//
//	CreateListeners, Register, …      what lbsync.API asks for
//	  └─ change                       one write per CLB, to the end of its task
//	       └─ call                    one path for every action of every service
//	            ├─ retry              only what is known not to have run
//	            └─ attempt            credentials, token bucket, SDK, metrics, log, classify
package clb
