# ruff: noqa: N815 - the fields are named by Kubernetes
"""The kinds of Knative, KEDA and the Gateway API that the manifests use, as far as they use them.
What is not written here is refused, so a mistyped field is found without a cluster."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Metadata(Strict):
    name: str
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class TemplateMetadata(Strict):
    labels: dict[str, str]
    annotations: dict[str, str]


class Container(Strict):
    """Checked as a core container too: see `as_pod`."""

    image: str
    ports: list[dict[str, int]]
    readinessProbe: dict[str, Any]
    livenessProbe: dict[str, Any]
    envFrom: list[dict[str, Any]]
    env: list[dict[str, Any]]
    volumeMounts: list[dict[str, Any]]
    resources: dict[str, dict[str, str]]
    securityContext: dict[str, Any]


class RevisionSpec(Strict):
    serviceAccountName: str
    automountServiceAccountToken: bool
    enableServiceLinks: Literal[False]
    containerConcurrency: int = Field(gt=0)
    timeoutSeconds: int = Field(gt=0, le=600)
    responseStartTimeoutSeconds: int = Field(default=1, gt=0, le=600)
    idleTimeoutSeconds: int = Field(default=1, gt=0, le=600)
    containers: list[Container] = Field(min_length=1, max_length=1)
    volumes: list[dict[str, Any]]


class RevisionTemplate(Strict):
    metadata: TemplateMetadata
    spec: RevisionSpec


class ServiceSpec(Strict):
    template: RevisionTemplate


class Service(Strict):
    apiVersion: Literal["serving.knative.dev/v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec


class Reference(Strict):
    apiVersion: str
    kind: str
    name: str


class Destination(Strict):
    ref: Reference


class Delivery(Strict):
    retry: int = Field(ge=0)
    backoffPolicy: Literal["linear", "exponential"]
    backoffDelay: str = Field(pattern=r"^PT\d+[SM]$")
    timeout: str = Field(pattern=r"^PT\d+[SM]$")
    deadLetterSink: Destination | None = None


class BrokerSpec(Strict):
    delivery: Delivery


class Broker(Strict):
    apiVersion: Literal["eventing.knative.dev/v1"]
    kind: Literal["Broker"]
    metadata: Metadata
    spec: BrokerSpec


class Filter(Strict):
    attributes: dict[str, str]


class TriggerSpec(Strict):
    broker: str
    filter: Filter
    subscriber: Destination
    delivery: Delivery


class Trigger(Strict):
    apiVersion: Literal["eventing.knative.dev/v1"]
    kind: Literal["Trigger"]
    metadata: Metadata
    spec: TriggerSpec


class PingSourceSpec(Strict):
    schedule: str
    sink: Destination


class PingSource(Strict):
    apiVersion: Literal["sources.knative.dev/v1"]
    kind: Literal["PingSource"]
    metadata: Metadata
    spec: PingSourceSpec


class Selector(Strict):
    matchLabels: dict[str, str]


class Subject(Strict):
    apiVersion: str
    kind: str
    namespace: str
    selector: Selector


class SinkBindingSpec(Strict):
    subject: Subject
    sink: Destination


class SinkBinding(Strict):
    apiVersion: Literal["sources.knative.dev/v1"]
    kind: Literal["SinkBinding"]
    metadata: Metadata
    spec: SinkBindingSpec


class ParentRef(Strict):
    name: str
    namespace: str
    sectionName: str = ""


class Path(Strict):
    type: Literal["Exact", "PathPrefix", "RegularExpression"]
    value: str = Field(pattern="^/", max_length=1024)


class Match(Strict):
    path: Path


class Rewrite(Strict):
    hostname: str


class RouteFilter(Strict):
    type: Literal["URLRewrite"]
    urlRewrite: Rewrite


class BackendRef(Strict):
    name: str
    namespace: str
    port: int


class Timeouts(Strict):
    request: str = Field(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")


class Rule(Strict):
    matches: list[Match] = Field(min_length=1, max_length=64)
    filters: list[RouteFilter] = Field(min_length=1, max_length=1)
    backendRefs: list[BackendRef] = Field(min_length=1, max_length=1)
    timeouts: Timeouts


class Redirect(Strict):
    scheme: Literal["https"]
    statusCode: Literal[301]


class RedirectFilter(Strict):
    type: Literal["RequestRedirect"]
    requestRedirect: Redirect


class RedirectRule(Strict):
    filters: list[RedirectFilter] = Field(min_length=1, max_length=1)


class HTTPRouteSpec(Strict):
    parentRefs: list[ParentRef] = Field(min_length=1)
    hostnames: list[str]
    rules: list[Rule] | list[RedirectRule] = Field(min_length=1, max_length=16)


class HTTPRoute(Strict):
    apiVersion: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: Metadata
    spec: HTTPRouteSpec


class LabelSelector(Strict):
    matchLabels: dict[str, str] = Field(min_length=1)


class FromNamespaces(Strict):
    from_: Literal["Same", "Selector"] = Field(alias="from")
    selector: LabelSelector | None = None


class AllowedRoutes(Strict):
    namespaces: FromNamespaces


class CertificateRef(Strict):
    kind: Literal["Secret"]
    name: str


class ListenerTls(Strict):
    mode: Literal["Terminate"]
    certificateRefs: list[CertificateRef] = Field(min_length=1)


class Listener(Strict):
    name: str
    hostname: str
    port: int = Field(ge=1, le=65535)
    protocol: Literal["HTTP", "HTTPS"]
    tls: ListenerTls | None = None
    allowedRoutes: AllowedRoutes


class GatewaySpec(Strict):
    gatewayClassName: str
    listeners: list[Listener] = Field(min_length=1)


class Gateway(Strict):
    apiVersion: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["Gateway"]
    metadata: Metadata
    spec: GatewaySpec


class Relabeling(Strict):
    sourceLabels: list[str]
    targetLabel: str


class MetricsEndpoint(Strict):
    port: Literal["user-port"]
    path: str = Field(pattern="^/")
    interval: str = Field(pattern=r"^\d+s$")
    relabelings: list[Relabeling] = []


class PodMonitorSpec(Strict):
    selector: LabelSelector
    podMetricsEndpoints: list[MetricsEndpoint] = Field(min_length=1)


class PodMonitor(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec


class GrantFrom(Strict):
    group: str
    kind: str
    namespace: str


class GrantTo(Strict):
    group: str
    kind: str
    name: str


class GrantSpec(Strict):
    from_: list[GrantFrom] = Field(alias="from")
    to: list[GrantTo]


class ReferenceGrant(Strict):
    apiVersion: Literal["gateway.networking.k8s.io/v1beta1"]
    kind: Literal["ReferenceGrant"]
    metadata: Metadata
    spec: GrantSpec


class ScaleTarget(Strict):
    name: str


class AuthenticationRef(Strict):
    name: str


class StreamMetadata(Strict):
    stream: str
    consumerGroup: str
    enableTLS: Literal["true", "false"]
    lagCount: str = ""
    activationLagCount: str = ""
    pendingEntriesCount: str = ""


class QueryMetadata(Strict):
    query: str
    targetQueryValue: str
    activationTargetQueryValue: str


class Scaler(Strict):
    type: Literal["redis-streams", "postgresql"]
    metadata: StreamMetadata | QueryMetadata
    authenticationRef: AuthenticationRef


class ScaledObjectSpec(Strict):
    scaleTargetRef: ScaleTarget
    minReplicaCount: int
    maxReplicaCount: int
    pollingInterval: int
    cooldownPeriod: int
    triggers: list[Scaler]


class ScaledObject(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class SecretTarget(Strict):
    parameter: str
    name: str
    key: str


class TriggerAuthenticationSpec(Strict):
    secretTargetRef: list[SecretTarget]


class TriggerAuthentication(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["TriggerAuthentication"]
    metadata: Metadata
    spec: TriggerAuthenticationSpec


class SecretStoreRef(Strict):
    kind: Literal["SecretStore", "ClusterSecretStore"]
    name: str


class ExternalTarget(Strict):
    name: str


class RemoteRef(Strict):
    key: str
    property: str


class ExternalData(Strict):
    secretKey: str
    remoteRef: RemoteRef


class ExternalSecretSpec(Strict):
    refreshInterval: str = Field(pattern=r"^\d+h$")
    secretStoreRef: SecretStoreRef
    target: ExternalTarget
    data: list[ExternalData] = Field(min_length=1)


class ExternalSecret(Strict):
    apiVersion: Literal["external-secrets.io/v1"]
    kind: Literal["ExternalSecret"]
    metadata: Metadata
    spec: ExternalSecretSpec


KINDS: dict[str, type[Strict]] = {
    model.__name__: model
    for model in (
        Service, Broker, Trigger, PingSource, SinkBinding, HTTPRoute, ReferenceGrant, Gateway,
        PodMonitor, ScaledObject, TriggerAuthentication, ExternalSecret,
    )
}  # fmt: skip
