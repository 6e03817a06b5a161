# A role for rotator on EKS, by Pod Identity or by IRSA, that may rotate the secrets named and nothing else.
# The actions are read from deploy/iam, which the tests hold to what rotator really calls.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.30"
    }
  }
}

variable "secret_arns" {
  description = "ARNs of the secrets; those of names that do not exist yet end in -??????"
  type        = list(string)
}

variable "kms_key_arns" {
  description = "KMS keys of your own that encrypt them; none for AWS's own key"
  type        = list(string)
  default     = []
}

variable "region" {
  description = "Region of the secrets"
  type        = string
}

variable "cluster_name" {
  description = "EKS cluster with the Pod Identity agent; empty where oidc_provider_arn is set"
  type        = string
  default     = ""
}

variable "oidc_provider_arn" {
  description = "OIDC provider of the cluster, for IRSA; empty for Pod Identity"
  type        = string
  default     = ""
}

variable "namespace" {
  type    = string
  default = "rotator"
}

variable "service_account" {
  type    = string
  default = "rotator"
}

locals {
  rotate = jsondecode(file("${path.module}/../../iam/rotate.json")).Statement[0]
  kms    = jsondecode(file("${path.module}/../../iam/kms.json")).Statement[0]
  issuer = trimprefix(regex("oidc-provider/.*|^$", var.oidc_provider_arn), "oidc-provider/")
  irsa   = var.oidc_provider_arn != ""
}

data "aws_iam_policy_document" "rotator" {
  statement {
    sid       = local.rotate.Sid
    actions   = local.rotate.Action
    resources = var.secret_arns
  }

  dynamic "statement" {
    for_each = length(var.kms_key_arns) > 0 ? [1] : []
    content {
      sid       = local.kms.Sid
      actions   = local.kms.Action
      resources = var.kms_key_arns
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["secretsmanager.${var.region}.amazonaws.com"]
      }
    }
  }
}

data "aws_iam_policy_document" "trust_pod_identity" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = [var.namespace]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = [var.service_account]
    }
  }
}

data "aws_iam_policy_document" "trust_irsa" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:${var.service_account}"]
    }
  }
}

resource "aws_iam_role" "rotator" {
  name               = "rotator"
  assume_role_policy = local.irsa ? data.aws_iam_policy_document.trust_irsa.json : data.aws_iam_policy_document.trust_pod_identity.json
}

resource "aws_iam_role_policy" "rotator" {
  name   = "rotate"
  role   = aws_iam_role.rotator.id
  policy = data.aws_iam_policy_document.rotator.json
}

resource "aws_eks_pod_identity_association" "rotator" {
  count           = local.irsa ? 0 : 1
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.rotator.arn
}

output "role_arn" {
  description = "For IRSA: the chart's serviceAccount.annotations, eks.amazonaws.com/role-arn"
  value       = aws_iam_role.rotator.arn
}
