{{ config(materialized='materialized_view', on_configuration_change='apply', indexes=[{'columns': ['region'], 'unique': True}]) }}
SELECT region, count(*) AS orders, sum(amount) AS total
FROM {{ source('shop', 'orders') }} o JOIN {{ source('shop', 'customers') }} c ON c.id = o.customer_id
GROUP BY region
