// SPDX-License-Identifier: Apache-2.0

package datapath

// maxSlots bounds the length of a sequence, and with it the size of a rule.
const maxSlots = 1024

// Sequence returns the order in which targets take turns: target i appears
// weights[i] times, divided by the weights' common divisor, and as evenly
// spread as possible, so that shares are exact after each round and close in
// between. Sums beyond 1024 are scaled down to about that, each weight to at
// least 1. Weights of 0 do not appear; without any other the sequence is empty.
func Sequence(weights []int) []int {
	w := reduce(weights)
	total := 0
	for _, n := range w {
		total += n
	}
	// Smooth weighted round robin: every turn each target gains its weight, and
	// the one that has gained most is taken and pays the total.
	out := make([]int, 0, total)
	gained := make([]int, len(w))
	for range total {
		best := -1
		for i := range w {
			gained[i] += w[i]
			if w[i] > 0 && (best < 0 || gained[i] > gained[best]) {
				best = i
			}
		}
		gained[best] -= total
		out = append(out, best)
	}
	return out
}

func reduce(weights []int) []int {
	divisor, sum := 0, 0
	for _, n := range weights {
		divisor = gcd(divisor, n)
		sum += n
	}
	out := make([]int, len(weights))
	for i, n := range weights {
		switch {
		case n == 0:
		case sum/divisor <= maxSlots:
			out[i] = n / divisor
		default:
			out[i] = max((n*maxSlots+sum/2)/sum, 1)
		}
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
