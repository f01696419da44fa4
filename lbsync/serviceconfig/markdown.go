// SPDX-License-Identifier: Apache-2.0

package serviceconfig

import (
	"cmp"
	"fmt"
	"strings"
)

// Markdown returns the reference page in English, MarkdownZH in Chinese: docs/tke-service-config.md and
// docs/tke-service-config.zh-CN.md, which a test holds equal to them.
func Markdown() string {
	return page(`# TkeServiceConfig

What the listeners of a Service have otherwise than by default stands in a TkeServiceConfig of the Service's namespace, as in TKE. The
Service names it:

`+example+`
* A change is applied at once to every Service that names the object. Without the object an Event (ServiceConfigNotFound, in TKE
  E4026) says so, and the defaults hold until it is there.
* A section that cannot be followed costs that section: an Event (BadServiceConfig) names it, and the others are applied.
* A section counts over the Service's sessionAffinity and over the annotation service.kubernetes.io/service.listenerParameters.
* When the annotation is removed, or a section, the defaults hold again.
* With the annotation service.cloud.tencent.com/tke-service-config-auto: "true" the controller makes the object itself,
  <service>-auto-service-config, with a section for each listener and for each rule. What you write into it stays; sections go
  with their ports, and the object with the Service or the annotation. Names that end so are reserved.
* The kind comes with the Helm chart, or with deploy/tkeserviceconfig-crd.yaml; `+"`kubectl explain tkeserviceconfig.spec.loadBalancer`"+` has
  what follows here. In a cluster of TKE the kind is there already. A cluster without it works; Services that name an
  object get an Event then.

## Fields of spec.loadBalancer

`, []string{"Field", "Value", "Default", "What it does"}, "required", func(f Field) string { return f.Doc }, "list", "true or false", "text", "any of: ", "%d to %d")
}

// MarkdownZH is Markdown in Chinese.
func MarkdownZH() string {
	return page(`# TkeServiceConfig

Service 监听器与默认值不同的设置，写在同一命名空间的 TkeServiceConfig 中，与 TKE 一致。由 Service 的注解引用：

`+example+`
* 修改后立即应用到引用它的所有 Service。对象不存在时产生事件（ServiceConfigNotFound，即 TKE 的 E4026），在其创建之前使用默认值。
* 无法执行的小节只影响该小节：事件（BadServiceConfig）会指明，其余小节照常应用。
* 小节优先于 Service 的 sessionAffinity 和注解 service.kubernetes.io/service.listenerParameters。
* 移除注解或小节后恢复默认值。
* 注解 service.cloud.tencent.com/tke-service-config-auto 为 "true" 时，由控制器创建 <service>-auto-service-config，每个监听器和转发规则
  各有一节。您写入的内容会保留；小节随端口删除，对象随 Service 或注解删除。以此结尾的名字保留。
* 该资源类型随 Helm chart 安装，或使用 deploy/tkeserviceconfig-crd.yaml；`+"`kubectl explain tkeserviceconfig.spec.loadBalancer`"+` 可查看下列字段。
  TKE 集群已自带该类型。没有该类型的集群也能正常工作，引用它的 Service 会收到事件。

## spec.loadBalancer 的字段

`, []string{"字段", "取值", "默认值", "作用"}, "必填", func(f Field) string { return f.DocZH }, "列表", "true 或 false", "文本", "可选：", "%d 到 %d")
}

const example = "```yaml" + `
apiVersion: cloud.tencent.com/v1alpha1
kind: TkeServiceConfig
metadata: {name: web, namespace: default}
spec:
  loadBalancer:
    l4Listeners:
    - protocol: TCP
      port: 80
      scheduler: LEAST_CONN
      healthCheck: {enable: true, intervalTime: 10, timeout: 5}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
  annotations:
    service.cloud.tencent.com/tke-service-config: web
` + "```\n"

func page(lead string, columns []string, required string, doc func(Field) string, lists, booleans, texts, words, bounds string) string {
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(columns...)
	row("---", "---", "---", "---")
	var walk func(path string, f Field)
	walk = func(path string, f Field) {
		name := path + f.Name
		value := map[kind]string{list: lists, boolean: booleans, text: texts, integer: fmt.Sprintf(bounds, f.Low, f.High), object: ""}[f.Kind]
		if f.Words != nil {
			value = words + strings.Join(f.Words, ", ")
		}
		standard := cmp.Or(strings.Trim(f.Default, `"`), "–")
		if f.Required {
			standard = required
		}
		row("`"+name+"`", cmp.Or(value, "–"), standard, doc(f))
		if f.Kind == list {
			name += "[]"
		}
		for _, one := range f.Fields {
			walk(name+".", one)
		}
	}
	for _, f := range schema.Fields {
		walk("", f)
	}
	return lead + b.String()
}
