// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"fmt"
	"strconv"
	"strings"
)

// regionNumbers is the number of a region in the numbers of its zones: zone 3 of a region with the number 10
// is 100003. Regions that are not in the table, because their number is not documented, keep their zone's
// name in the providerID, which is as good for everything that reads one.
var regionNumbers = map[string]int{
	"ap-guangzhou":     10,
	"ap-shenzhen-fsi":  11,
	"na-siliconvalley": 15,
	"ap-chengdu":       16,
	"ap-chongqing":     19,
	"ap-shanghai":      20,
	"ap-mumbai":        21,
	"eu-moscow":        24,
	"ap-hongkong":      30,
	"ap-nanjing":       33,
	"ap-beijing-fsi":   46,
	"ap-shanghai-fsi":  70,
	"ap-beijing":       80,
	"ap-singapore":     90,
}

// zoneID returns a zone as TKE writes it into providerIDs: "100003" for ap-guangzhou-3. A name that has no
// known number stays as it is.
func zoneID(zone string) string {
	i := strings.LastIndexByte(zone, '-')
	if i < 0 {
		return zone
	}
	region, known := regionNumbers[zone[:i]]
	n, err := strconv.Atoi(zone[i+1:])
	if !known || err != nil || n < 1 || n > 9999 {
		return zone
	}
	return fmt.Sprintf("%d%04d", region, n)
}

// regionOf returns the region of a zone, given by its number or its name; "" if that is not known.
func regionOf(zone string) string {
	if m := zoneRE.FindStringSubmatch(zone); m != nil {
		return m[1]
	}
	n, err := strconv.Atoi(zone)
	if err != nil {
		return ""
	}
	for region, number := range regionNumbers {
		if number == n/10000 {
			return region
		}
	}
	return ""
}
